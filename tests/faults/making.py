"""Shared helpers that cause faults."""

import socket

from portal.models import AccountType, MailAccount
from tests.builders import make_account, make_config, make_destination
from tests.fakes.provider import FakeProvider
from tests.faults.provider_words import Said
from tests.faults.stage import Stage


def say(provider: FakeProvider, said: Said) -> None:
    more = {"error_codes": [said.number], "trace_id": "0e1f", "correlation_id": "2a3b"} if said.number else {}
    words = f"AADSTS{said.number}: {said.words}" if said.number else said.words
    provider.refuses(said.error, words, said.status, **more)


def account(stage: Stage, provider: FakeProvider, port: int, type: AccountType = AccountType.IMAPS) -> MailAccount:
    token = stage.token(make_config("Microsoft", base=provider.url))
    return make_account(make_destination(stage.folder), token, name="Help desk", port=port, type=type)


_asked = socket.getaddrinfo


def no_such_name(host: str, *arguments: object, **options: object) -> object:
    """Resolve names under .invalid as not found (RFC 6761): the tests have no name server."""
    if host.endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _asked(host, *arguments, **options)  # type: ignore[arg-type]
