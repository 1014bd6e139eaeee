"""Client authentication with an assertion that another program keeps fresh in a file."""

from dataclasses import replace
from pathlib import Path

import pytest

from portal.core.errors import Invalid, Refused
from portal.models import ClientAuth, Token, TokenConfig
from portal.tokens import config_fields
from portal.tokens.config_fields import Fields
from tests.fakes.provider import FakeProvider
from tests.support.refreshing import refresh, token_at

pytestmark = pytest.mark.usefixtures("db")
ASSERTION = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2sxMHMudGVzdCJ9.c2lnbmF0dXJl"


def token_with(provider: FakeProvider, path: Path) -> Token:
    token = token_at(provider)
    TokenConfig.update(client_auth=ClientAuth.ASSERTION_FILE, assertion_file=str(path)).execute()
    return token


def test_fresh_content_of_the_file_is_sent_with_each_request(provider: FakeProvider, tmp_path: Path) -> None:
    path = tmp_path / "assertion"
    path.write_text(f"{ASSERTION}\n")
    token = token_with(provider, path)
    refresh(token)
    path.write_text(f"{ASSERTION}2")
    refresh(token)
    assert [one["client_assertion"] for one in provider.requests] == [ASSERTION, f"{ASSERTION}2"]
    for request in provider.requests:
        assert request["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert request["client_id"] == "client-1111"
        assert "client_secret" not in request


@pytest.mark.parametrize("content", [None, b"", b"root:x:0:0:root", b"\xff\xfe", b"a.b"])
def test_only_an_assertion_leaves_this_host(provider: FakeProvider, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "assertion"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refused, match="client assertion"):
        refresh(token_with(provider, path))
    assert provider.requests == []
    assert TokenConfig.get().credentials_cause == "assertion-file-unusable"


def test_path_is_required() -> None:
    good = Fields("Mail", "client", "https://p.test/token", "https://p.test/authorize", "https://p.test/token")
    by_file = replace(good, client_auth=ClientAuth.ASSERTION_FILE, assertion_file="relative")
    with pytest.raises(Invalid, match="begins with /"):
        config_fields.check(by_file, None)
    config_fields.check(replace(by_file, assertion_file="/var/run/token"), None)
