"""The shipped files for an installation."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from portal.cli import portal
from tests.servers.needs import need

pytestmark = pytest.mark.real
DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("name", ["mail-token-portal.service", "mail-token-portal@.service"])
def test_unit_is_valid_and_its_exposure_is_low(name: str) -> None:
    """systemd rates the exposure from 0 to 10; the threshold is in tenths."""
    need("systemd-analyze")
    unit = DEPLOY / name
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
    assert "Unknown" not in done.stderr
    # An own user namespace would hide the users of the local socket, and the groups of both sockets.
    assert "PrivateUsers=yes" not in unit.read_text()


def test_logrotate_accepts_its_file(tmp_path: Path) -> None:
    need("logrotate")
    own = pwd.getpwuid(os.getuid()).pw_name
    text = (DEPLOY / "logrotate").read_text().replace("mail-token-portal mail-token-portal", f"{own} {own}")
    log = tmp_path / "audit.jsonl"
    log.write_text("{}\n")
    (tmp_path / "rules").write_text(text.replace("/var/log/mail-token-portal/audit.jsonl", str(log)))
    (tmp_path / "rules").chmod(0o600)
    command = ["/usr/sbin/logrotate", "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rules")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "audit.jsonl.1").exists()


def commands_of(manifest: str) -> list[list[str]]:
    """Return the command of the portal of each container."""
    text = (DEPLOY / manifest).read_text()
    if manifest.endswith("compose.yml"):
        services = yaml.safe_load(text)["services"].values()
        return [service["command"] for service in services if service["image"] == "mail-token-portal"]
    specs = [one["spec"]["template"]["spec"] for one in yaml.safe_load_all(text) if "template" in one.get("spec", {})]
    return [container["args"] for spec in specs for container in spec["containers"]]


@pytest.mark.parametrize("manifest", ["compose.yml", "kubernetes/portal.yml"])
def test_containers_run_commands_that_exist(manifest: str) -> None:
    found = commands_of(manifest)
    assert {"web", "clock", "worker", "push", "upgrade"} <= {command[0] for command in found}
    for command in found:
        result = CliRunner().invoke(portal, [*command, "--help"])
        assert result.exit_code == 0, result.output
