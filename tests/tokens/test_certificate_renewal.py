"""A client certificate that expires unnoticed stops every mailbox of its configuration."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from portal.core.errors import Invalid
from portal.models import CertificateRenewal, ClientAuth, Event, TokenConfig
from portal.monitoring.problems import upcoming_expiry
from portal.tokens import certificate_renewal, certificates, config_fields
from portal.tokens.certificate_renewal import begins_at
from portal.tokens.config_fields import Fields
from tests.builders import ADMIN, NOW, make_config
from tests.fakes.app_registration import OBJECT_ID, FakeAppRegistration

pytestmark = pytest.mark.usefixtures("db")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAppRegistration]:
    server = FakeAppRegistration()
    monkeypatch.setattr(certificate_renewal, "graph_origin", lambda config: server.url)
    yield server
    server.stop()


@pytest.fixture
def registered(app: FakeAppRegistration) -> TokenConfig:
    """A configuration whose certificate was uploaded at Microsoft by a person."""
    made = make_config(base=app.url, secret=None)
    made.client_auth, made.app_object_id = ClientAuth.PRIVATE_KEY_JWT, OBJECT_ID
    certificates.generate(made, actor=ADMIN, now=NOW)
    assert made.certificate
    app.upload(made.certificate, "uploaded")
    return made


def renew(at: datetime) -> CertificateRenewal:
    """Take the steps that are due, as the worker does until none is left for now."""
    for _ in range(5):
        certificate_renewal.renew_if_due(CertificateRenewal.get().id, now=at)
    return CertificateRenewal.get()


def certificate() -> str:
    return str(TokenConfig.get().certificate)


def actions() -> list[str]:
    return [event.action.partition(":")[2] for event in Event.select().order_by(Event.id)]


def test_certificate_is_renewed_before_it_expires(app: FakeAppRegistration, registered: TokenConfig) -> None:
    first, begin = certificate(), begins_at(registered)
    renew(begin - DAY)
    assert (certificate(), app.requests) == (first, [])
    app.propagating = {"key-2"}
    renew(begin)
    assert certificate() == first
    assert "accepts it" in certificate_renewal.described(registered)
    app.propagating = set()
    renew(begin + 10 * MINUTE)
    second = certificate()
    assert second != first
    assert "Remove" in Event.select().order_by(Event.id.desc()).get().details
    # The second renewal knows the ID of the certificate that it replaces.
    begin = begins_at(TokenConfig.get())
    renew(begin)
    renew(begin + 10 * MINUTE)
    assert certificate() not in (first, second)
    assert set(app.certificates) == {"uploaded", "key-2", "key-3"}
    renew(begin + 2 * DAY)
    assert set(app.certificates) == {"uploaded", "key-3"}
    assert actions()[-3:] == ["certificate-added", "certificate-renewed", "certificate-removed"]


def test_lost_response_adds_no_second_certificate(app: FakeAppRegistration, registered: TokenConfig) -> None:
    begin = begins_at(registered)
    app.loses_response = True
    assert "503" in (renew(begin).failure or "")
    app.loses_response = False
    renew(begin + DAY)
    assert certificate() != registered.certificate
    assert set(app.certificates) == {"uploaded", "key-2"}
    assert CertificateRenewal.get().failure is None


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        ((400, "CredentialInvalidLifetimeAsPerAppPolicy", "Credential lifetime exceeds the max value allowed as per "
          "assigned policy '538f1913'."), "certificate-life-forbidden"),
        ((401, "Authentication_MissingOrMalformed", "Access Token missing or malformed."), "certificate-proof-refused"),
    ],
)  # fmt: skip
def test_refusal_keeps_the_certificate_and_is_said(
    app: FakeAppRegistration, registered: TokenConfig, refusal: tuple[int, str, str], cause: str
) -> None:
    app.refusal = refusal
    begin = begins_at(registered)
    renew(begin)
    assert certificate() == registered.certificate
    (problem,) = upcoming_expiry.soon(begin)
    assert (problem.cause.name, problem.about_id) == (cause, registered.id)
    assert "could not be renewed" in problem.text
    assert problem.cause.title in certificate_renewal.described(registered)
    app.refusal = None
    renew(begin + 2 * DAY)
    renew(begin + 2 * DAY + 10 * MINUTE)
    assert certificate() != registered.certificate
    assert upcoming_expiry.soon(begin) == []


def test_certificate_that_is_never_accepted_is_said(app: FakeAppRegistration, registered: TokenConfig) -> None:
    app.propagating = {"key-2"}
    begin = begins_at(registered)
    renew(begin)
    assert app.requests.count("addKey") == 1
    renew(begin + 2 * DAY)
    (problem,) = upcoming_expiry.soon(begin)
    assert "still not accepted" in problem.response
    assert app.requests.count("addKey") == 1


def test_certificate_of_a_person_wins(app: FakeAppRegistration, registered: TokenConfig) -> None:
    app.propagating = {"key-2"}
    begin = begins_at(registered)
    renew(begin)
    certificates.generate(registered, actor=ADMIN, now=begin)
    row = renew(begin)
    assert row.next_certificate is None
    assert certificate() == registered.certificate


def test_renewal_ends_with_the_object_id(registered: TokenConfig) -> None:
    registered.app_object_id = ""
    CertificateRenewal.plan(registered, NOW)
    assert CertificateRenewal.select().count() == 0


def test_short_life_is_renewed_in_its_last_third(registered: TokenConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_LIFE", timedelta(days=30))
    certificates.generate(registered, actor=ADMIN, now=NOW)
    assert begins_at(registered) == NOW + timedelta(days=20)


def test_only_a_certificate_of_one_tenant_can_be_renewed() -> None:
    url = "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
    good = Fields("Mail", "client", url, url, url, client_auth=ClientAuth.PRIVATE_KEY_JWT, app_object_id=OBJECT_ID)
    config_fields.check(good, None, has_key=True)
    wrong = {
        "Only a certificate": {"client_auth": ClientAuth.SECRET_POST},
        "Enter the Object ID": {"app_object_id": "contoso"},
        "one tenant": {"token_url": url.replace("contoso.com", "common")},
    }
    for words, changes in wrong.items():
        with pytest.raises(Invalid, match=words):
            config_fields.check(replace(good, **changes), None, has_key=True)  # type: ignore[arg-type]
