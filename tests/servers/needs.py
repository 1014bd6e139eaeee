"""Programs required by tests on real servers: a missing one skips the test; with CI set, it fails the test."""

import os
import shutil
from collections.abc import Callable
from ctypes.util import find_library
from functools import partial
from pathlib import Path

import pytest

from tests.servers.debian_root import ROOT
from tests.servers.help_desks import installed
from tests.servers.postgresql import programs

_PROVIDER = Path(__file__).parent / "provider" / "node_modules"
_ENVIRONMENTS = Path(__file__).parents[2] / ".venv"

NEEDS: dict[str, tuple[Callable[[], object], str]] = {
    "node": (partial(shutil.which, "node"), "nodejs and npm"),
    "oidc-provider": (_PROVIDER.is_dir, "npm ci in tests/servers/provider"),
    "canaille": ((_ENVIRONMENTS / "canaille").is_dir, "tests/prepare"),
    "django_oauth_toolkit": ((_ENVIRONMENTS / "django_oauth_toolkit").is_dir, "tests/prepare"),
    "dovecot": (
        lambda: all(Path("/usr/lib/dovecot", part).exists() for part in ("imap", "pop3", "lmtp", "submission")),
        "dovecot-imapd, dovecot-pop3d, dovecot-lmtpd and dovecot-submissiond",
    ),
    "postgresql": (programs, "postgresql"),
    "tmpfs": (lambda: os.getuid() == 0 and shutil.which("mount"), "the right to mount a small disk"),
    "fuse": (
        lambda: os.access("/dev/fuse", os.R_OK | os.W_OK) and find_library("fuse3"),
        "libfuse3-3, and root rights",
    ),
    "machines": (
        lambda: os.getuid() == 0 and shutil.which("ip") and shutil.which("gcc"),
        "iproute2 and gcc, and root rights",
    ),
    "mail-servers": (
        lambda: os.getuid() == 0 and (ROOT / "ready").exists() and shutil.which("exim4"),
        "tests/prepare, run by root with debootstrap, and exim4-daemon-light",
    ),
    "podman": (lambda: all(map(shutil.which, ("podman", "runc", "debootstrap"))), "podman, runc and debootstrap"),
    "programs": (
        lambda: (
            all(map(shutil.which, ("mbsync", "msmtp", "getmail", "fetchmail", "neomutt", "curl")))
            and any(Path("/usr/lib").glob("*/sasl2/libkdexoauth2.so"))
        ),
        "isync, libsasl2-modules-kdexoauth2, msmtp, getmail6, fetchmail, neomutt and curl",
    ),
    "help-desks": (installed, "redmine-sqlite, rt5-db-sqlite and rt5-standalone, and root rights"),
    "systemd-analyze": (partial(shutil.which, "systemd-analyze"), "systemd"),
    "nginx": (Path("/usr/sbin/nginx").exists, "nginx-light"),
    "caddy": (partial(shutil.which, "caddy"), "caddy"),
    "logrotate": (Path("/usr/sbin/logrotate").exists, "logrotate"),
    "promtool": (partial(shutil.which, "promtool"), "prometheus"),
    "chromium": (Path("/usr/bin/chromium").exists, "chromium"),
}


def need(*names: str) -> None:
    missing = [f"{name} ({NEEDS[name][1]})" for name in names if not NEEDS[name][0]()]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
