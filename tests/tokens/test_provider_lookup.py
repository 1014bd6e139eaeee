"""An admin knows the address of a mailbox, not which template or issuer it needs."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.core.errors import Invalid, NotFound
from portal.protocols import mail_autoconfig, tls
from portal.protocols.server import Security, Server
from portal.tokens import provider_lookup
from tests.fakes import dns_server, mail_server
from tests.fakes.dns_server import Records
from tests.fakes.pages import PageClient
from tests.fakes.provider import FakeProvider
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")
AUTOCONFIG = b"""<?xml version="1.0"?><!-- of example.org -->
<clientConfig version="1.1"><emailProvider id="example.org"><domain>example.org</domain>
<incomingServer type="pop3"><hostname>pop.example.org</hostname><port>995</port><socketType>SSL</socketType></incomingServer>
<incomingServer type="imap"><hostname>IMAP.example.org</hostname><port>993</port><socketType>SSL</socketType>
<username>%EMAILADDRESS%</username><authentication>OAuth2</authentication></incomingServer></emailProvider>
<oAuth2><issuer>id.example.org</issuer><scope>mail</scope></oAuth2></clientConfig>"""


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    with dns_server.published(monkeypatch) as found:
        yield found


@pytest.mark.parametrize(
    ("exchanger", "template"),
    [
        ("example-org.mail.protection.outlook.com", "microsoft-tenant"),
        ("aspmx.l.google.com", "google"),
        ("in1-smtp.messagingengine.com", "fastmail"),
    ],
)
def test_hosted_domain_is_recognized_by_its_mail_exchanger(records: Records, exchanger: str, template: str) -> None:
    records["example.org", "MX"] = ["20 backup.example.net.", f"10 {exchanger}."]
    found = provider_lookup.by_address("help@Example.org")
    assert found.template.key == template
    assert exchanger in found.how[0]


def test_imap_server_of_the_srv_record_names_the_template(records: Records) -> None:
    records["_imaps._tcp.example.org", "SRV"] = ["10 0 993 other.example.org.", "0 1 993 imap.mail.yahoo.com."]
    assert provider_lookup.by_address("help@example.org").template.key == "yahoo"


def test_service_that_is_not_offered_is_left_out(records: Records) -> None:
    records["_imaps._tcp.example.org", "SRV"] = ["0 0 0 ."]
    records["_imap._tcp.example.org", "SRV"] = ["0 0 143 imap.example.org."]
    assert mail_autoconfig.imap_server("example.org") == Server("imap.example.org", 143, Security.STARTTLS)


def test_autoconfig_document_is_read() -> None:
    found = mail_autoconfig.read(AUTOCONFIG)
    assert found == mail_autoconfig.Autoconfig(Server("imap.example.org", 993), "https://id.example.org")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html></html>", b"\xff\xfe", b'<!DOCTYPE a [<!ENTITY b "c">]><clientConfig>&b;</clientConfig>',
     b"<clientConfig>" * 20_000],
)  # fmt: skip
def test_other_documents_are_not_read(content: bytes) -> None:
    assert mail_autoconfig.read(content) is None


@pytest.mark.parametrize("port", [b"0", b"70000", b"x", "٣".encode()])
def test_impossible_port_is_no_server(port: bytes) -> None:
    found = mail_autoconfig.read(AUTOCONFIG.replace(b"993", port))
    assert found is not None
    assert found.imap is None


def test_issuer_comes_from_autoconfig_or_the_mail_server(
    records: Records, provider: FakeProvider, certificate_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls.trust(certificate_folder / "ca.pem")
    document = {"issuer": provider.url, "token_endpoint": f"{provider.url}/token",
                "authorization_endpoint": f"{provider.url}/authorize"}  # fmt: skip
    provider.says(document, path="/.well-known/openid-configuration")
    refusal = {"status": "invalid_token", "openid-configuration": f"{provider.url}/.well-known/openid-configuration"}
    lines = [
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] ready\r\n",
        b"+ " + b64encode(json.dumps(refusal).encode()) + b"\r\n",
        b"%TAG% NO no token\r\n",
    ]
    with mail_server.talking(lines, certificate_folder) as port:
        published = mail_autoconfig.Autoconfig(Server("localhost", port))
        monkeypatch.setattr(mail_autoconfig, "published", lambda domain, address: published)
        found = provider_lookup.by_address("help@example.org")
    assert (found.template.key, found.endpoints["token_url"]) == ("generic", f"{provider.url}/token")


def test_remote_server_cannot_point_the_portal_at_this_machine(
    records: Records, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.says(
        {"issuer": provider.url, "token_endpoint": "https://p.test/t"}, path="/.well-known/openid-configuration"
    )
    hostile = mail_autoconfig.Autoconfig(None, provider.url)
    monkeypatch.setattr(mail_autoconfig, "published", lambda domain, address: hostile)
    with pytest.raises(NotFound, match="Choose a template"):
        provider_lookup.by_address("help@example.org")
    assert provider.headers == []


def test_provider_that_publishes_nothing_is_said(records: Records) -> None:
    records["example.org", "MX"] = ["10 mx.example.org."]
    with pytest.raises(NotFound, match=r"its MX records \(mx.example.org\) belong to no template"):
        provider_lookup.by_address("help@example.org")
    for text in ("help", "help@localhost", "a b@example.org", "help@ex/ample.org"):
        with pytest.raises(Invalid, match="email address"):
            provider_lookup.by_address(text)


def test_page_and_command_find_the_provider(alice: PageClient, run: Run, records: Records) -> None:
    records["example.org", "MX"] = ["1 smtp.google.com."]
    page = alice.post("/tokens/find", {"address": "help@example.org"}, status=200).text
    assert "receives its mail at smtp.google.com" in page
    assert "https://oauth2.googleapis.com/token" in page
    assert "google" in run("token-config", "find", "help@example.org").stdout
    alice.post("/tokens/find", {"address": "help@nowhere.test"})
    assert "was not found" in alice.get("/tokens").text
