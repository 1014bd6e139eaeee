"""Client authentication at the provider, with each client secret of a configuration in turn."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Refused
from portal.models import ClientAuth, ClientSecret, TokenConfig
from portal.protocols import token_responses
from portal.protocols.oauth2 import Client
from portal.system import audit
from portal.tokens import constant_parameters

_LONGEST_ASSERTION = 16_384
Answer = TypeVar("Answer")


def first_of(config: TokenConfig) -> Client:
    """Return the client with the secret in use, for callers that need only the client ID."""
    return _with_secret(config, config.client_secret)


def ask(config: TokenConfig, request: Callable[[Client], Answer], *, actor: str, now: datetime) -> Answer:
    """Send a request with each secret in turn until the provider accepts one.

    A rejected secret is marked and tried last from then on. If all are rejected, the last Refused is raised. Any other
    Refused is raised at once.
    """
    secrets = config.client_secrets if config.client_auth.has_secrets else []
    for secret in secrets[:-1]:
        try:
            return _taken(secret, request(_with_secret(config, secret)))
        except Refused as error:
            if error.answer.error not in token_responses.CREDENTIALS_ERRORS:
                raise
            _mark(config, secret, actor, now)
    if not secrets:
        return request(_with_secret(config, None))
    return _taken(secrets[-1], request(_with_secret(config, secrets[-1])))


def _taken(secret: ClientSecret, answer: Answer) -> Answer:
    """Clear an earlier rejection of the secret, which the provider has now accepted."""
    if secret.refused_at:
        ClientSecret.update(refused_at=None).where(ClientSecret.id == secret.id).execute()
    return answer


def _with_secret(config: TokenConfig, secret: ClientSecret | None) -> Client:
    if config.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        if config.private_key is None:
            raise Refused("There is no certificate for this client; create or upload one.")
        return _client(config, config.private_key)
    if config.client_auth is ClientAuth.ASSERTION_FILE:
        return _client(config, _assertion(config.assertion_file))
    return _client(config, secret.value if secret else None)


def _assertion(path: str) -> Secret:
    """Read the client assertion; only what looks like one is sent to the provider."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(_LONGEST_ASSERTION).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise Refused(f"The client assertion in {path} cannot be read: {reason}.") from error
    if not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", text, re.ASCII):
        raise Refused(f"The file {path} contains no client assertion (a JWT).")
    return Secret(text)


def _client(config: TokenConfig, secret: Secret | None) -> Client:
    parameters = constant_parameters.parsed(config.token_parameters)
    return Client(config.client_id, secret, config.client_auth.value, config.certificate or "", parameters)


def _mark(config: TokenConfig, secret: ClientSecret, actor: str, now: datetime) -> None:
    if secret.refused_at is None:
        with transaction():
            ClientSecret.update(refused_at=now).where(ClientSecret.id == secret.id).execute()
            audit.about(
                config, actor, "client-secret-refused", f"set on {secret.set_at:%Y-%m-%d}; trying the next", now
            )
