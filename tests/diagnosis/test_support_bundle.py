import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from portal.core.config import from_environment
from portal.diagnosis import support_bundle
from portal.models import MailAccount, Notice, Run, RunLine, RunOutcome
from tests.builders import NOW, SECRETS, make_account, make_destination, make_service, make_token, make_user
from tests.support.commands import Run as Command

pytestmark = pytest.mark.usefixtures("db", "at_work")


def files(folder: Path) -> dict[str, str]:
    config = from_environment({"PORTAL_DATA": str(folder)})
    content = support_bundle.create(config, actor="test", now=NOW)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def plant(folder: Path) -> MailAccount:
    make_user()
    make_service()
    account = make_account(make_destination(folder), make_token(), name="Help desk")
    run = Run.create(mail_account=account, started_at=NOW, outcome=RunOutcome.FAILED)
    RunLine.create(run=run, at=NOW, level="error", text="Login of helpdesk@example.test failed: " + "Ab3" * 20)
    Notice.create(key="x", text="helpdesk@example.test fails", level="warning", cause="unknown", opened_at=NOW)
    return account


def test_bundle_names_what_a_supporter_needs(tmp_path: Path) -> None:
    plant(tmp_path)
    found = files(tmp_path)
    assert '"mail_account": 1' in found["about.json"]
    assert "name: Help desk" in found["configuration.yml"]
    assert "Help desk, run 1" in found["failed-runs.txt"]
    assert "fails" in found["notices.json"]


def test_bundle_contains_no_secret_and_no_address(tmp_path: Path) -> None:
    plant(tmp_path)
    for name, text in files(tmp_path).items():
        assert "@" not in text, name
        assert not [secret for secret in SECRETS if secret in text], name
        assert "Ab3Ab3" not in text, name


def test_address_has_the_same_number_in_all_files(tmp_path: Path) -> None:
    plant(tmp_path)
    found = files(tmp_path)
    number = found["failed-runs.txt"].partition("address-")[2].partition(" ")[0]
    assert f"address-{number} fails" in found["notices.json"]


def test_command_writes_a_file_for_its_owner_only(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    assert "Read its files" in run("support-bundle", str(path)).stdout
    assert zipfile.is_zipfile(path)
    assert path.stat().st_mode & 0o077 == 0


def test_what_administrators_fill_in_freely_is_masked(tmp_path: Path) -> None:
    service = make_service()
    service.headers, service.url = "X-Api-Key: s3cr3t-9", "https://desk.example.test/in?api_key=s3cr3t-9"
    service.save()
    configuration = files(tmp_path)["configuration.yml"]
    assert "s3cr3t-9" not in configuration
    assert "https://desk.example.test/in?…" in configuration


@pytest.mark.parametrize("address", ["foo%40example.com", '"john doe"@example.com', "u@[10.0.0.1]"])
def test_unusual_addresses_are_replaced(address: str) -> None:
    assert "address-1" in support_bundle._Hider().hide(f"for {address} failed")
    assert "example.com" not in support_bundle._Hider().hide(f"for {address} failed")
