import json
from pathlib import Path

import pytest
import yaml

from portal.models import OutboundProfile, TokenConfig
from tests.builders import make_config
from tests.support.commands import Run

PROFILE = "outbound_profiles:\n  - {name: Relay, type: SMTP, host: 127.0.0.1, port: %d}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "portal.yml"
    path.write_text(PROFILE % 25)
    return path


def test_apply_shows_a_plan_then_changes_then_nothing(run: Run, file: Path) -> None:
    assert "1 new." in run("apply", str(file), "--dry-run").stdout
    assert not OutboundProfile.select().exists()
    run("apply", str(file))
    assert run("apply", str(file)).stdout == "1 same.\n"
    file.write_text(PROFILE % 2525)
    assert "port: 25 → 2525" in run("apply", str(file), "--dry-run").stdout


def test_check_exits_with_2_if_the_portal_differs(run: Run, file: Path) -> None:
    run("apply", str(file), "--check", code=2)
    run("apply", str(file))
    run("apply", str(file), "--check")
    steps = json.loads(run("apply", str(file), "--json").stdout)
    assert [(step["name"], step["verdict"]) for step in steps] == [("Relay", "same")]


def test_refused_file_is_one_sentence_and_exit_code_1(run: Run, file: Path) -> None:
    file.write_text(PROFILE % 0 + "mail_accounts: [{name: x}]\n")
    shown = run("apply", str(file), code=1)
    assert "This field is required." in shown.stdout
    assert shown.stderr == "Error: 1 of 2 records refused; nothing was changed\n"
    file.write_text("users: [\n")
    assert "Line 2" in run("apply", str(file), code=1).stderr


def test_exported_file_is_applied_without_a_change(run: Run, file: Path) -> None:
    make_config("Office")
    run("apply", str(file))
    file.write_text(run("export").stdout)
    assert run("apply", str(file), "--prune").stdout == "2 same.\n"
    assert yaml.safe_load(file.read_text())["token_configs"][0]["name"] == "Office"


def test_encrypted_secret_is_applied_with_its_passphrase(run: Run, file: Path) -> None:
    make_config("Office")
    encrypted = run("encrypt-secret", stdin="correct horse\na-new-secret-Kq7ZxW93\n").stdout.strip()
    file.write_text(f"token_configs: [{{name: Office, client_secret: '{encrypted}'}}]")
    assert "client_secret changed" in run("apply", str(file), "--passphrase-stdin", stdin="correct horse\n").stdout
    secret = TokenConfig.named("Office").client_secret
    assert secret
    assert secret.value
    assert secret.value.reveal() == "a-new-secret-Kq7ZxW93"


def test_published_schema_is_current(run: Run) -> None:
    published = Path(__file__).parents[2] / "docs" / "configuration.schema.json"
    assert published.read_text() == run("export", "--schema").stdout
