"""Data that older versions have made, from the first migration on, upgrades to this version with everything kept.

Each folder of old_versions has the name of the last migration of the program that wrote it.
"""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.access import passwords
from portal.config_files import export
from portal.core.config import Config, from_environment
from portal.core.db import connected
from portal.core.encryption import Secret
from portal.models import ApiKey, Destination, MailAccount, OutboundProfile, Token, TokenConfig, User, WebService
from portal.runtime import startup
from portal.system import settings
from tests.builders import ACCESS_TOKEN, CLIENT_SECRET, PASSWORD, REFRESH_TOKEN
from tests.support.database import unbind

FOLDER = Path(__file__).parent / "old_versions"
VERSIONS = sorted(path.name for path in FOLDER.iterdir())
NOW = datetime(2026, 11, 29, tzinfo=UTC)
MAIL_PASSWORD, SERVICE_SECRET = Secret("mail-password-8Hq2mVv0PP"), Secret("service-secret-5Tz9uKcc1")


@pytest.fixture
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Config:
    """A data folder that the version has left, upgraded."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    shutil.copy(FOLDER / request.param / "keys", data / "keys")
    (data / "keys").chmod(0o600)
    with closing(sqlite3.connect(data / "portal.db")) as opened:
        opened.executescript((FOLDER / request.param / "portal.sql").read_text())
    config = from_environment({"PORTAL_DATA": str(data)})
    assert startup.upgrade(config, now=NOW)
    unbind()
    startup.start(config)
    return config


@pytest.mark.parametrize("old", VERSIONS, indirect=True)
def test_rows_and_secrets_of_an_older_version_are_kept(old: Config) -> None:
    with connected():
        assert passwords.matches(User.named("alice").password_hash, Secret(PASSWORD))
        config = TokenConfig.named("Office")
        assert config.client_secret
        assert config.client_secret.value == Secret(CLIENT_SECRET)
        (token,) = Token.select()
        assert (token.owner, token.access_token) == ("desk@example.test", Secret(ACCESS_TOKEN))
        assert token.refresh_token == Secret(REFRESH_TOKEN)
        assert settings.get("FQDN") == "mail.example.test"
    unbind()


@pytest.mark.parametrize("old", [version for version in VERSIONS if version >= "0006"], indirect=True)
def test_accounts_and_services_of_an_older_version_are_kept(old: Config) -> None:
    with connected():
        account = MailAccount.named("Help desk")
        assert (account.password, account.destination) == (MAIL_PASSWORD, Destination.named("Inbox"))
        assert account.after_fetch == "delete"
        assert OutboundProfile.named("Relay").password == MAIL_PASSWORD
        assert WebService.named("Desk").secret == SERVICE_SECRET
        assert [allowed.token_config.name for allowed in ApiKey.named("Backup").token_configs] == ["Office"]
        assert export.export(actor="test", now=NOW)["mail_accounts"][0]["login"] == "desk@example.test"
    unbind()
