"""Fault diagnosis on real servers: Dovecot, oidc-provider, a full disk and a read-only disk."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.core.encryption import Secret
from portal.models import AccountType, Destination, MailAccount, Token, TokenConfig
from portal.protocols import tls
from portal.tokens import refresh
from tests.builders import fresh, make_account, make_config, make_destination
from tests.fakes.pages import PageClient
from tests.faults.stage import Stage, now
from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.servers.ports import free_port, new_folder
from tests.support.commands import Run

pytestmark = pytest.mark.real
#: The provider's first account.
USER = "0@x.test"


@dataclass
class Servers:
    provider: Provider
    dovecot: Dovecot


@pytest.fixture(scope="module")
def servers(certificate_folder: Path) -> Iterator[Servers]:
    need("node", "oidc-provider", "dovecot")
    folder = new_folder()
    folder.chmod(0o711)
    provider = Provider.start(certificate_folder, "http://127.0.0.1:8000/callback", access_token_seconds=3600)
    (folder / "dovecot").mkdir(mode=0o711)
    dovecot = Dovecot.start(folder / "dovecot", certificate_folder, provider.port)
    yield Servers(provider, dovecot)
    dovecot.stop()
    provider.stop()


@pytest.fixture
def stage(alice: PageClient, at_work: None, run: Run, tmp_path: Path, certificate_folder: Path) -> Stage:
    tls.trust(certificate_folder / "ca.pem")
    return Stage(run, alice, now(), tmp_path, certificate_folder)


def signed_in(servers: Servers) -> Token:
    """Return a token signed in at the provider without a browser and refreshed once."""
    config = make_config("Office", base=servers.provider.url, secret=CLIENT_SECRET)
    TokenConfig.update(client_id=CLIENT_ID, scope="openid email offline_access").execute()
    token = Token.get(Token.token_config == config.id)
    token.owner, token.signed_in_at = USER, now()
    token.refresh_token = Secret(servers.provider.grants(1)[0])
    token.save()
    refresh.refresh(token.id, actor="test", now=now())
    return fresh(token)


def account(stage: Stage, servers: Servers, **facts: object) -> MailAccount:
    row = make_account(make_destination(stage.folder), signed_in(servers), name="Help desk", port=servers.dovecot.port)
    MailAccount.update({"login": USER, **facts}).execute()
    return MailAccount.get_by_id(row.id)


def test_diagnosis_without_fault_reports_success(stage: Stage, servers: Servers) -> None:
    row = account(stage, servers)
    said = stage.run("mail-account", "diagnose", "Help desk").stdout
    assert "IMAP folder: INBOX" in said
    assert "Destination accepts mail" in said
    stage.fetch(row)
    assert MailAccount.get().failing_since is None
    stage.run("token", "diagnose", "Office")
    stage.run("token-config", "diagnose", "Office")


@pytest.mark.parametrize(
    ("cause", "facts"),
    [
        ("folder-missing", {"folder": "Tickets/Neu"}),
        ("sign-in-refused", {"login": "somebody@else.test"}),
        ("tls-not-spoken", {"port": "plain_port"}),
        ("not-this-protocol", {"type": AccountType.POP3S}),
        ("connection-refused", {"port": free_port()}),
    ],
)
def test_fault_at_dovecot_is_diagnosed(stage: Stage, servers: Servers, cause: str, facts: dict[str, object]) -> None:
    if facts.get("port") == "plain_port":
        facts = {"port": servers.dovecot.plain_port}
    row = account(stage, servers, **facts)
    stage.fetch(row)
    stage.is_named(row, cause)


def test_wrong_password_at_dovecot_is_diagnosed(stage: Stage, servers: Servers) -> None:
    row = make_account(make_destination(stage.folder), None, name="Help desk", port=servers.dovecot.port, login=USER)
    assert row.password is not None
    assert row.password.reveal() != MAIL_PASSWORD
    stage.fetch(row)
    stage.is_named(row, "sign-in-refused")
    page = stage.alice.submit(f"/diagnosis/mail-account/{row.id}", {}).html
    assert row.password.reveal() not in page


def test_untrusted_ca_is_diagnosed_with_its_name(stage: Stage, servers: Servers, run: Run) -> None:
    row = account(stage, servers)
    tls.trust(None)
    stage.fetch(row)
    stage.is_noticed("certificate-untrusted")
    page = stage.alice.submit(f"/diagnosis/mail-account/{row.id}", {}).text
    assert "The certificate authority is not trusted." in page
    assert "by Mail Token Portal sandbox CA" in page, "the page names the certificate authority"


def test_sign_in_revoked_at_the_provider_is_diagnosed(stage: Stage, servers: Servers) -> None:
    token = signed_in(servers)
    Token.update(signed_in_at=stage.began.replace(year=2025)).execute()
    servers.provider.revoke_everything()
    stage.renew(token)
    stage.is_named(token, "refresh-token-refused", reference="Office")


@pytest.mark.parametrize("facts", [{"client_id": "nobody"}, {"secret": "wrong"}])
def test_client_rejected_by_the_provider_is_diagnosed(stage: Stage, servers: Servers, facts: dict[str, str]) -> None:
    token = signed_in(servers)
    if "client_id" in facts:
        TokenConfig.update(client_id=facts["client_id"]).execute()
    else:
        secret = token.token_config.client_secrets[0]
        secret.value = Secret(facts["secret"])
        secret.save()
    stage.renew(token)
    stage.is_named(token, "client-credentials-refused", reference="Office")


@contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[Path]:
    need("tmpfs")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    try:
        for name in ("tmp", "new", "cur"):
            (folder / "Maildir" / name).mkdir(parents=True)
        for option in options:
            subprocess.run(["mount", "-o", option, str(folder)], check=True)
        yield folder / "Maildir"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_diagnosed_and_loses_no_message(stage: Stage, servers: Servers) -> None:
    row = account(stage, servers)
    servers.dovecot.receives(USER, [b"Subject: Hello\r\n\r\n" + b"x" * 50_000])
    with small_disk(stage.folder / "small") as maildir:
        (maildir.parent / "other").write_bytes(b"x" * 40_000)
        Destination.update(path=str(maildir)).execute()
        stage.fetch(row)
        stage.is_named(row, "disk-full")
        (maildir.parent / "other").unlink()
        stage.fetch(row)
        assert len(list((maildir / "new").iterdir())) == 1


def test_read_only_disk_is_diagnosed(stage: Stage, servers: Servers) -> None:
    row = account(stage, servers)
    with small_disk(stage.folder / "small", "remount,ro") as maildir:
        Destination.update(path=str(maildir)).execute()
        stage.fetch(row)
        stage.is_named(Destination.get(), "destination-read-only")


def test_stopped_servers_are_diagnosed(stage: Stage, servers: Servers) -> None:
    """Must be the last test of the module: the servers are not restarted."""
    row = account(stage, servers)
    assert row.token
    token = fresh(row.token)
    servers.dovecot.kill()
    stage.fetch(row)
    stage.is_named(row, "connection-refused")
    servers.provider.stop()
    stage.renew(token)
    page = stage.alice.submit(f"/diagnosis/token/{token.id}", {}).text
    assert "The connection was refused." in page
