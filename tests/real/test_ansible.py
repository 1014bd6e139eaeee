"""The Ansible role, run by ansible-playbook against a portal."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.portal_process import Portal
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
ROLES = Path(__file__).parents[2] / "deploy" / "ansible"


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    made = Portal(new_folder())
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def key(portal: Portal) -> str:
    return portal.cli("api-key", "add", "Ansible", "--may-manage", "--networks", "127.0.0.1").strip()


def configuration(folder: Path, *, type_: str = "maildir") -> dict[str, Any]:
    return {
        "settings": {"RefreshMargin": 300},
        "web_services": [
            {"name": "Desk", "url": "https://desk.example.test/", "authentication": "basic", "login": "portal",
             "secret": "a-secret-for-the-desk-Kq7Z"}
        ],
        "destinations": [{"name": "Inbox", "type": type_, "path": str(folder / "Maildir")}],
    }  # fmt: skip


def played(
    portal: Portal, key: str, document: dict[str, Any], *options: str, code: int = 0
) -> "subprocess.CompletedProcess[str]":
    role = {
        "role": str(ROLES / "mail_token_portal"),
        "mail_token_portal_url": portal.url,
        "mail_token_portal_key": key,
        "mail_token_portal_configuration": document,
    }
    playbook = portal.folder / "playbook.yml"
    # JSON is YAML.
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": [role]}]))
    program = str(Path(sys.executable).parent / "ansible-playbook")
    command = [program, "-c", "local", "-vv", *options, str(playbook)]
    variables = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0", "LC_ALL": "C.UTF-8"}
    variables |= {"ANSIBLE_HOME": str(portal.folder / "ansible"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_role_changes_the_portal_once_and_shows_no_secret(portal: Portal, key: str, tmp_path: Path) -> None:
    document = configuration(tmp_path)
    checked = played(portal, key, document, "--check")
    assert "changed=1" in checked.stdout
    assert portal.rows("destination", "list") == []
    first = played(portal, key, document)
    assert "2 new, 1 changed" in first.stdout
    assert [row["name"] for row in portal.rows("destination", "list")] == ["Inbox"]
    again = played(portal, key, document)
    assert "changed=0" in again.stdout
    for text in (checked, first, again):
        assert key not in text.stdout + text.stderr
        assert "a-secret-for-the-desk" not in text.stdout + text.stderr


def test_role_fails_with_the_reason_of_a_refusal(portal: Portal, key: str, tmp_path: Path) -> None:
    done = played(portal, key, configuration(tmp_path, type_="pigeon"), code=2)
    assert "Enter one of maildir, lmtp, smtp, web-service, command." in done.stdout
