"""Google service accounts: the uploaded key, one token for each mailbox, and the assertion that requests it."""

import base64
import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused
from portal.models import ClientSecret, Flow, Token, TokenConfig
from portal.tokens import refresh as refreshing
from portal.tokens import service_account, token_configs
from tests.builders import NOW, fresh, make_account, make_destination
from tests.fakes.pages import PageClient
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")
EMAIL = "portal@project.iam.gserviceaccount.com"
_PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_file(**changes: Any) -> str:
    pem = _PRIVATE.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    facts = {"type": "service_account", "client_email": EMAIL, "private_key": pem, "private_key_id": "key-1"}
    return json.dumps({**facts, "project_id": "project", **changes})


@pytest.fixture
def account(run: Run, provider: FakeProvider, tmp_path: Path) -> TokenConfig:
    path = tmp_path / "key.json"
    path.write_text(key_file())
    add = ("token-config", "add", "--name", "Google", "--template", "google-service-account")
    run(*add, "--token-url", f"{provider.url}/token", "--service-account-key", str(path))
    return TokenConfig.get()


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_assertion_follows_googles_documentation() -> None:
    """Verified with the public key by another library than the one that signs."""
    _, stored = service_account.read_key(key_file())
    signed = service_account.assertion(
        stored,
        mailbox="a@x.test",
        scope="https://mail.google.com/",
        audience="https://oauth2.googleapis.com/token",
        now=NOW,
    ).reveal()
    head, claims, signature = signed.split(".")
    proof = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    _PRIVATE.public_key().verify(proof, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert decoded(head) == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    issued = int(NOW.timestamp())
    assert decoded(claims) == {
        "iss": EMAIL, "sub": "a@x.test", "scope": "https://mail.google.com/",
        "aud": "https://oauth2.googleapis.com/token", "iat": issued, "exp": issued + 3600,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"private_key": 1}', key_file(private_key="no PEM")])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="no JSON key"):
        service_account.read_key(text)


def test_each_mailbox_gets_its_own_token(account: TokenConfig, provider: FakeProvider, tmp_path: Path) -> None:
    assert (account.flow, account.client_id) == (Flow.JWT_BEARER, EMAIL)
    for mailbox in ("a@x.test", "b@x.test"):
        token_configs.add_token(account, mailbox=mailbox, actor="Alice", now=NOW)
    assert [token.owner for token in token_configs.tokens_of(account)] == ["a@x.test", "b@x.test"]
    for token in token_configs.tokens_of(account):
        make_account(make_destination(tmp_path, token.name), token)
        assert refreshing.refresh_if_due(token.id, now=NOW)
        stored = fresh(token)
        assert stored.access_token == Secret(NEW_ACCESS_TOKEN)
        assert stored.due_at is not None
        assert stored.due_at > NOW
    sent = provider.requests
    assert [decoded(one["assertion"].split(".")[1])["sub"] for one in sent] == ["a@x.test", "b@x.test"]
    assert {one["grant_type"] for one in sent} == {"urn:ietf:params:oauth:grant-type:jwt-bearer"}
    assert all(set(one) == {"grant_type", "assertion"} for one in sent)


def test_mailbox_without_an_address_or_twice_is_refused(account: TokenConfig) -> None:
    with pytest.raises(Invalid, match="Enter the address"):
        token_configs.add_token(account, actor="Alice", now=NOW)
    token_configs.add_token(account, mailbox="a@x.test", actor="Alice", now=NOW)
    with pytest.raises(Invalid, match="has a token for"):
        token_configs.add_token(account, mailbox="a@x.test", actor="Alice", now=NOW)


def test_token_without_a_mailbox_is_not_requested(account: TokenConfig, provider: FakeProvider) -> None:
    (token,) = token_configs.tokens_of(account)
    assert refreshing.refresh(token.id, actor="worker", now=NOW) is None
    assert provider.requests == []


def test_missing_delegation_suspends_the_configuration_until_it_is_granted(
    account: TokenConfig, provider: FakeProvider
) -> None:
    token = token_configs.add_token(account, mailbox="a@x.test", actor="Alice", now=NOW)
    provider.refuses("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method.", 401)
    for minutes in (0, 2):
        with pytest.raises(Exception, match="unauthorized"):
            refreshing.refresh_if_due(token.id, now=NOW + timedelta(minutes=minutes))
    stored: TokenConfig = TokenConfig.get()
    assert stored.credentials_cause == "google-delegation-missing"
    provider.grants()
    assert refreshing.refresh_if_due(token.id, now=NOW + timedelta(hours=2))
    assert TokenConfig.get().credentials_refused_at is None


def test_damaged_key_is_named(account: TokenConfig) -> None:
    with pytest.raises(Refused, match="upload it again"):
        service_account.assertion(Secret("{}"), mailbox="a@x.test", scope="s", audience="u", now=NOW)


def test_key_is_uploaded_on_the_page_and_never_shown(alice: PageClient) -> None:
    path = "/tokens/new?template=google-service-account"
    page = alice.get(path)
    assert "Redirect URI" not in page.text
    form = {name: page.field(name) for name in ("token_url", "scope")}
    upload = (BytesIO(key_file().encode()), "key.json")
    alice.post(path, {**form, "name": "Google", "validity": "valid", "service_account_key": upload})
    config = TokenConfig.get()
    assert config.client_id == EMAIL
    stored = config.client_secret
    assert stored is not None
    assert "PRIVATE KEY" in stored.value.reveal()
    page = alice.get(f"/tokens/{config.id}")
    assert "Add the first mailbox" in page.text
    assert "Request new token" not in page.text
    assert "Certificate" not in page.text
    page = alice.submit(f"/tokens/{config.id}/add-token", {"mailbox": "a@x.test"})
    assert "Mailbox added." in page.text
    assert EMAIL in page.text
    assert "PRIVATE KEY" not in page.html
    kept = {**form, "name": "Renamed", "validity": "valid"}
    alice.post(f"/tokens/{config.id}", kept)
    assert (TokenConfig.get().name, ClientSecret.select().count()) == ("Renamed", 1)
    assert Token.get().owner == "a@x.test"


def test_wrong_file_is_a_field_error(alice: PageClient) -> None:
    path = "/tokens/new?template=google-service-account"
    page = alice.get(path)
    form = {name: page.field(name) for name in ("token_url", "scope")}
    upload = (BytesIO(b"{}"), "key.json")
    response = alice.post(
        path, {**form, "name": "Google", "validity": "valid", "service_account_key": upload}, status=200
    )
    assert "This is no JSON key" in response.text
