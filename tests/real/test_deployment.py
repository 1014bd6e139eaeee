"""The shipped files for an installation."""

import subprocess
from pathlib import Path

import pytest

from tests.servers.needs import need

pytestmark = pytest.mark.real
UNIT = Path(__file__).parents[2] / "deploy" / "mail-token-portal.service"


def test_unit_is_valid_and_its_exposure_is_low() -> None:
    """systemd rates the exposure from 0 to 10; the threshold is in tenths."""
    need("systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
    assert "Unknown" not in done.stderr
    # An own user namespace would hide the users of the local socket, and the groups of both sockets.
    assert "PrivateUsers=yes" not in UNIT.read_text()
