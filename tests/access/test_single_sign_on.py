"""Sign-in at an identity provider: only its own answers count, and groups decide the role."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from portal.access import identity_providers, sessions, single_sign_on, users
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError, Refused
from portal.models import Event, IdentityProvider, LoginSession, Role, User
from tests.builders import NOW, PASSWORD
from tests.fakes.identity_provider import CLIENT_ID, CLIENT_SECRET, FakeIdentityProvider

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def fake() -> Iterator[FakeIdentityProvider]:
    started = FakeIdentityProvider(NOW)
    yield started
    started.stop()


def fields(fake: FakeIdentityProvider, **changes: Any) -> identity_providers.Fields:
    values = {"name": "Staff", "issuer": fake.url, "client_id": CLIENT_ID, "admin_groups": "mail-admins",
              "operator_groups": "Help desk,duty", "viewer_groups": "staff"}  # fmt: skip
    return identity_providers.Fields(**{**values, **changes})


@pytest.fixture
def provider(fake: FakeIdentityProvider) -> IdentityProvider:
    return identity_providers.add(fields(fake), Secret(CLIENT_SECRET), actor="test", now=NOW)


def signed_in(fake: FakeIdentityProvider, provider: IdentityProvider, **claims: Any) -> User:
    fake.claims |= claims
    address, pending = single_sign_on.begin(provider, now=NOW)
    return single_sign_on.complete(pending, fake.signs_in(address), now=NOW)


def test_first_sign_in_creates_the_user(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    user = signed_in(fake, provider)
    assert (user.name, user.role, user.subject) == ("dora", Role.ADMIN, "u-1")
    assert signed_in(fake, provider).id == user.id
    assert "at the first sign-in at Staff" in Event.get(Event.action == "user:added").details


def test_groups_at_the_userinfo_endpoint_decide_the_role(fake: FakeIdentityProvider) -> None:
    fake.userinfo = {"sub": "u-1", "groups": ["duty"], "preferred_username": "eve"}
    del fake.claims["groups"]
    provider = identity_providers.add(fields(fake), Secret(CLIENT_SECRET), actor="test", now=NOW)
    user = signed_in(fake, provider)
    assert (user.name, user.role) == ("dora", Role.OPERATOR)
    fake.userinfo["sub"] = "u-2"
    with pytest.raises(Refused, match="belong to another user"):
        signed_in(fake, provider)


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["staff", "duty"], Role.OPERATOR),
        (["staff"], Role.VIEWER),
        ("staff", Role.VIEWER),
        (["staff", "mail-admins"], Role.ADMIN),
        (["Mail-Admins"], None),
        (["Help desk"], Role.OPERATOR),
        (["Help"], None),
        ([], None),
        (None, None),
        ({"mail-admins": True}, None),
    ],
)
def test_groups_decide_the_role(fake: FakeIdentityProvider, provider: IdentityProvider, groups: Any, role: Any) -> None:
    assert single_sign_on.role_of(provider, {"groups": groups}) == role


def test_groups_of_a_nested_claim_are_read(provider: IdentityProvider) -> None:
    provider.groups_claim = "realm_access.roles"
    assert single_sign_on.role_of(provider, {"realm_access": {"roles": ["staff"]}}) is Role.VIEWER
    assert single_sign_on.role_of(provider, {"realm_access": "staff"}) is None


def test_user_without_a_group_is_refused_and_recorded(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    with pytest.raises(Refused, match="None of the groups"):
        signed_in(fake, provider, groups=["guests"])
    assert not User.select().exists()
    assert Event.get(Event.action == "identity-provider:sign-in-refused").actor == "dora"


def test_role_follows_the_groups_at_each_sign_in(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    signed_in(fake, provider)
    assert signed_in(fake, provider, groups=["staff"]).role is Role.VIEWER
    assert User.get().role is Role.VIEWER


def test_name_at_the_provider_does_not_take_over_a_local_user(
    fake: FakeIdentityProvider, provider: IdentityProvider
) -> None:
    local = users.add("dora", Role.ADMIN, Secret(PASSWORD), actor="test", now=NOW)
    user = signed_in(fake, provider, groups=["staff"])
    assert (user.id != local.id, user.name) == (True, "dora (Staff)")


def test_another_account_with_the_same_name_is_another_user(
    fake: FakeIdentityProvider, provider: IdentityProvider
) -> None:
    assert signed_in(fake, provider).id != signed_in(fake, provider, sub="u-2").id


def test_disabled_user_is_refused(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    users.disable(signed_in(fake, provider), actor="test", now=NOW)
    with pytest.raises(Refused, match="disabled"):
        signed_in(fake, provider)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "x"}, "does not belong"),
        ({"state": ""}, "does not belong"),
        ({"state": "ü"}, "does not belong"),
        ({"iss": "https://other.example"}, "came from https://other.example"),
        ({"code": ""}, "neither an authorization code"),
        ({"error": "access_denied", "error_description": "No."}, "access_denied No"),
        ({"code": "guessed"}, "invalid_grant"),
    ],
)
def test_answer_that_does_not_belong_to_the_sign_in_is_refused(
    fake: FakeIdentityProvider, provider: IdentityProvider, changes: dict[str, str], words: str
) -> None:
    address, pending = single_sign_on.begin(provider, now=NOW)
    with pytest.raises(Refused, match=words):
        single_sign_on.complete(pending, fake.signs_in(address) | changes, now=NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "another"},
        {"iss": "https://other.example"},
        {"exp": 1},
        {"sub": ""},
        {"sub": None},
    ],
)
def test_id_token_for_another_purpose_is_refused(
    fake: FakeIdentityProvider, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        signed_in(fake, provider, **claims)
    assert not User.select().exists()


def test_id_token_with_another_key_is_refused(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    address, pending = single_sign_on.begin(provider, now=NOW)
    answer, published = fake.signs_in(address), fake.key
    fake._keys = lambda: {"keys": [{**published.as_dict(private=False), "kid": "k"}]}  # type: ignore[method-assign]
    fake.key = RSAKey.generate_key(2048)
    with pytest.raises(Refused, match="not accepted"):
        single_sign_on.complete(pending, answer, now=NOW)


def test_sign_in_that_took_too_long_or_has_another_verifier_is_refused(
    fake: FakeIdentityProvider, provider: IdentityProvider
) -> None:
    address, pending = single_sign_on.begin(provider, now=NOW)
    with pytest.raises(Refused, match="15 minutes"):
        single_sign_on.complete(pending, fake.signs_in(address), now=NOW + timedelta(minutes=16))
    with pytest.raises(Refused, match="invalid_grant"):
        single_sign_on.complete(replace(pending, verifier="a" * 43), fake.signs_in(address), now=NOW)


def test_user_of_the_provider_has_no_password(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    user = signed_in(fake, provider)
    with pytest.raises(PortalError, match="has no password"):
        users.set_password(user, Secret(PASSWORD), actor="test", now=NOW)
    with pytest.raises(Invalid):
        sessions.check_password("dora", Secret(""), address="127.0.0.1", now=NOW)


def test_last_admin_with_a_password_stays(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    local = users.add("root", Role.ADMIN, Secret(PASSWORD), actor="test", now=NOW)
    signed_in(fake, provider)
    with pytest.raises(PortalError, match="last admin with a password"):
        users.disable(local, actor="test", now=NOW)


def test_another_issuer_needs_the_secret_again(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    other = FakeIdentityProvider(NOW)
    with pytest.raises(Invalid) as told:
        identity_providers.edit(provider, fields(other), None, actor="test", now=NOW)
    assert "client_secret" in told.value.fields
    identity_providers.edit(provider, fields(other), Secret("new"), actor="test", now=NOW)
    assert f"{fake.url} → {other.url}" in Event.get(Event.action == "identity-provider:edited").details
    other.stop()


def test_deletion_ends_the_sessions(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    sessions.open_session(signed_in(fake, provider), now=NOW)
    sessions.open_session(users.add("root", Role.ADMIN, Secret(PASSWORD), actor="test", now=NOW), now=NOW)
    identity_providers.delete(provider, actor="test", now=NOW)
    assert [row.user.name for row in LoginSession.select()] == ["root"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"issuer": "ftp://x"}, "issuer"),
        ({"issuer": "http://idp.example.org"}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"scope": "email"}, "scope"),
        ({"admin_groups": "", "operator_groups": " , ", "viewer_groups": ""}, "viewer_groups"),
        ({"client_id": ""}, "client_id"),
    ],
)
def test_invalid_value_is_a_field_error(fake: FakeIdentityProvider, changes: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as told:
        identity_providers.add(fields(fake, **changes), None, actor="test", now=NOW)
    assert field in told.value.fields


def test_shared_issuer_and_plain_endpoints_are_refused(fake: FakeIdentityProvider) -> None:
    fake.metadata = {"issuer": f"{fake.url}/{{tenantid}}/v2.0"}
    with pytest.raises(Invalid, match="shared by all tenants"):
        identity_providers.add(fields(fake), None, actor="test", now=NOW)
    fake.metadata = {"token_endpoint": "http://id.example.org/token"}
    with pytest.raises(Invalid, match="Use https"):
        identity_providers.add(fields(fake), None, actor="test", now=NOW)


def test_failed_sign_in_is_in_the_audit_trail(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    _, pending = single_sign_on.begin(provider, now=NOW)
    for _ in range(3):
        with pytest.raises(Refused):
            single_sign_on.complete(pending, {"state": pending.state, "error": "x"}, address="192.0.2.1", now=NOW)
    event = Event.get(Event.action == "user:sign-in-failed")
    assert (event.actor, "answered: x" in event.details) == ("192.0.2.1", True)
    assert Event.select().where(Event.action == "user:sign-in-failed").count() == 1


def test_session_at_the_provider_is_not_enough_for_a_confirmation(
    fake: FakeIdentityProvider, provider: IdentityProvider
) -> None:
    address, pending = single_sign_on.begin(provider, again=True, now=NOW)
    assert "prompt=login" in address
    assert "max_age=0" in address
    for auth_time in (None, int(NOW.timestamp()) - 3600):
        fake.claims["auth_time"] = auth_time
        with pytest.raises(Refused, match="did not ask for the sign-in again"):
            single_sign_on.complete(pending, fake.signs_in(address), now=NOW)
    fake.claims["auth_time"] = int(NOW.timestamp())
    assert single_sign_on.complete(pending, fake.signs_in(address), now=NOW).subject == "u-1"


def test_answer_without_the_announced_issuer_is_refused(fake: FakeIdentityProvider) -> None:
    fake.metadata = {"authorization_response_iss_parameter_supported": True}
    provider = identity_providers.add(fields(fake), Secret(CLIENT_SECRET), actor="test", now=NOW)
    address, pending = single_sign_on.begin(provider, now=NOW)
    answer = fake.signs_in(address)
    with pytest.raises(Refused, match="does not name its issuer"):
        single_sign_on.complete(pending, {name: answer[name] for name in ("code", "state")}, now=NOW)
    with pytest.raises(Invalid, match="Staff has this issuer already"):
        identity_providers.add(fields(fake, name="Again"), Secret(CLIENT_SECRET), actor="test", now=NOW)


def test_subject_of_another_issuer_is_another_user(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    other = FakeIdentityProvider(NOW)
    try:
        second = identity_providers.add(fields(other, name="Other"), Secret(CLIENT_SECRET), actor="test", now=NOW)
        assert signed_in(fake, provider, sub="u-9").id != signed_in(other, second, sub="u-9").id
    finally:
        other.stop()


def test_key_that_a_token_names_itself_is_not_used(fake: FakeIdentityProvider, provider: IdentityProvider) -> None:
    address, pending = single_sign_on.begin(provider, now=NOW)
    answer, published = fake.signs_in(address), fake._keys()
    forger = RSAKey.generate_key(2048)
    fake._keys = lambda: published  # type: ignore[method-assign]
    fake.key = forger
    fake.header = {"jwk": forger.as_dict(private=False), "jku": f"{fake.url}/forged", "x5u": f"{fake.url}/forged"}
    with pytest.raises(Refused, match="not accepted"):
        single_sign_on.complete(pending, answer, now=NOW)


@pytest.mark.parametrize(("azp", "is_accepted"), [(None, False), ("another-client", False), (CLIENT_ID, True)])
def test_token_for_several_clients_must_name_this_one(
    fake: FakeIdentityProvider, provider: IdentityProvider, azp: str | None, is_accepted: bool
) -> None:
    fake.claims |= {"aud": [CLIENT_ID, "another-client"], **({"azp": azp} if azp else {})}
    if is_accepted:
        assert signed_in(fake, provider).subject == "u-1"
    else:
        with pytest.raises(Refused, match="several clients"):
            signed_in(fake, provider)
