"""Process settings, read once from the environment. An invalid value stops the program with a one-line error."""

import grp
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from portal.core.errors import ConfigError
from portal.core.loopback import is_loopback

LogFormat = Literal["text", "json"]


@dataclass(frozen=True)
class Config:
    """The process settings.

    ``redis_url`` None: use the embedded server in ``data_dir``. ``ca_file`` None: trust only the CAs of this host.
    """

    data_dir: Path
    database_url: str
    redis_url: str | None
    bind_host: str
    bind_port: int
    keys_file: Path
    ca_file: Path | None
    trusted_proxies: int
    log_format: LogFormat
    allow_commands: bool
    #: Host and port of the SMTP listener for programs on this host; None: no listener.
    submission: tuple[str, int] | None = None
    #: Unix socket for users of this host to get access tokens and send mail without an API key; None: no socket.
    local_socket: Path | None = None
    #: The Unix group that may use the socket; empty: only the user that runs the portal.
    local_group: str = ""

    @property
    def address(self) -> str:
        host = f"[{self.bind_host}]" if ":" in self.bind_host else self.bind_host
        return f"{host}:{self.bind_port}"


def from_environment(environ: Mapping[str, str] = os.environ) -> Config:
    """Read the settings. Raise ConfigError, with the variable and the remedy, for an invalid value."""
    data_dir = Path(environ.get("PORTAL_DATA") or "./data").resolve()
    host, port = parse_bind(environ.get("PORTAL_BIND") or "127.0.0.1:8000")
    return Config(
        data_dir=data_dir,
        database_url=_secret(environ, "DATABASE_URL") or f"sqlite:///{data_dir / 'portal.db'}",
        redis_url=_secret(environ, "REDIS_URL") or None,
        bind_host=host,
        bind_port=port,
        keys_file=Path(environ.get("PORTAL_KEYS_FILE") or data_dir / "keys").resolve(),
        ca_file=_readable(environ, "PORTAL_CA_FILE"),
        trusted_proxies=_count(environ, "PORTAL_TRUSTED_PROXIES"),
        allow_commands=_yes(environ, "PORTAL_ALLOW_COMMANDS"),
        submission=_loopback(environ, "PORTAL_SUBMISSION"),
        local_socket=Path(text) if (text := environ.get("PORTAL_LOCAL_SOCKET")) else None,
        local_group=_group(environ, "PORTAL_LOCAL_GROUP"),
        log_format=_log_format(environ.get("PORTAL_LOG_FORMAT") or "text"),
    )


def parse_bind(text: str, name: str = "PORTAL_BIND") -> tuple[str, int]:
    """Split ``host:port``, with an IPv6 host in brackets. Raise ConfigError that begins with ``name``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"{name}: {text!r} is not host:port, for example 127.0.0.1:8000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host means all addresses


def _loopback(environ: Mapping[str, str], name: str) -> tuple[str, int] | None:
    text = environ.get(name)
    if not text:
        return None
    host, port = parse_bind(text, name)
    if not is_loopback(host):
        raise ConfigError(f"{name}: {host} is not a loopback address; without TLS, only 127.0.0.1 is allowed")
    return host, port


def _group(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    try:
        if text:
            grp.getgrnam(text)
    except KeyError as error:
        raise ConfigError(f"{name}: the Unix group {text!r} does not exist") from error
    return text


def _secret(environ: Mapping[str, str], name: str) -> str:
    """The value of NAME, or the content of the file named in NAME_FILE, which keeps secrets out of the environment."""
    path = environ.get(f"{name}_FILE")
    if not path:
        return environ.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}_FILE: {path} cannot be read: {error}") from error


def _yes(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "0"
    if text not in ("0", "1"):
        raise ConfigError(f"{name}: {text!r} is neither 0 nor 1")
    return text == "1"


def _readable(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name)
    if not text:
        return None
    path = Path(text).resolve()
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ConfigError(f"{name}: {text} is not a readable file")
    return path


def _count(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name) or "0"
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{name}: {text!r} is not a number of proxies, for example 1")
    return int(text)


def _log_format(text: str) -> LogFormat:
    if text not in ("text", "json"):
        raise ConfigError(f"PORTAL_LOG_FORMAT: {text!r} is neither text nor json")
    return cast(LogFormat, text)
