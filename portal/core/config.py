"""Process settings, read once from the environment. An invalid value stops the program with a one-line error."""

import grp
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from portal.core.errors import ConfigError
from portal.core.loopback import is_loopback
from portal.core.text import split_list

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
    #: ``file:<path>``, ``syslog:<socket>`` or ``syslog:<host>:<port>``; empty: the audit trail is not copied.
    audit_copy: str = ""
    #: Address of an OpenTelemetry collector, without ``/v1/traces``; None: spans are not exported.
    otlp_endpoint: str | None = None
    #: Folder of the scheduled backups; None: none are made. They are encrypted to the recipient, a public key of age.
    backup_folder: Path | None = None
    backup_recipient: str = ""
    #: Hours between two backups, and how many are kept.
    backup_hours: int = 24
    backup_keep: int = 7
    #: The key that encrypts the key file, from a file or a command; neither: it is not encrypted.
    key_encryption_key_file: Path | None = None
    key_encryption_key_command: str = ""
    #: Internal networks that the portal may connect to for web, mail and providers; empty: any.
    internal_networks: tuple[str, ...] = ()
    #: Folders below which Maildirs may be; empty: any folder.
    maildir_roots: tuple[Path, ...] = ()
    #: Unix socket for the reverse proxy, on which alone forwarded headers are believed; None: no such socket.
    proxy_socket: Path | None = None
    #: The Unix group of the reverse proxy.
    proxy_group: str = ""
    #: Header fields in which it names the user that it signed in, and this user's groups; empty: it signs none in.
    proxy_user_header: str = ""
    proxy_groups_header: str = ""
    #: Host and port of the SMTP listener; None: no listener. Beyond this host it needs the certificate, for STARTTLS.
    submission: tuple[str, int] | None = None
    #: The same with implicit TLS.
    submission_tls: tuple[str, int] | None = None
    #: The SMTP listener without TLS and authentication, for the networks of API keys for the relay.
    relay: tuple[str, int] | None = None
    #: Certificate with its chain, and private key, of the SMTP listeners.
    submission_certificate: Path | None = None
    submission_key: Path | None = None
    #: Unix socket for users of this host to get access tokens and send mail without an API key; None: no socket.
    local_socket: Path | None = None
    #: The Unix group that may use the socket; empty: only the user that runs the portal.
    local_group: str = ""

    @property
    def exposures(self) -> list[str]:
        """What other hosts, or users of this host, can do because of these settings: one sentence each."""
        is_local, found = is_loopback(self.bind_host), []
        if not is_local and not self.trusted_proxies:
            found.append(
                f"PORTAL_BIND {self.address} accepts other hosts without TLS, so that passwords can be read on the "
                "network; bind to 127.0.0.1, and use a reverse proxy with PORTAL_PROXY_SOCKET."
            )
        if is_local and self.trusted_proxies and not self.proxy_socket:
            found.append(
                "PORTAL_TRUSTED_PROXIES lets every user of this host forge the address of a client; "
                "use PORTAL_PROXY_SOCKET."
            )
        return found

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
        **_submission(environ),
        local_socket=Path(text) if (text := environ.get("PORTAL_LOCAL_SOCKET")) else None,
        local_group=_group(environ, "PORTAL_LOCAL_GROUP"),
        audit_copy=_audit_copy(environ, "PORTAL_AUDIT_COPY"),
        otlp_endpoint=_url(environ, "PORTAL_OTLP_ENDPOINT"),
        **_backups(environ),
        key_encryption_key_file=_readable(environ, "PORTAL_KEY_ENCRYPTION_KEY_FILE"),
        key_encryption_key_command=environ.get("PORTAL_KEY_ENCRYPTION_KEY_COMMAND", ""),
        internal_networks=_networks(environ, "PORTAL_INTERNAL_NETWORKS"),
        maildir_roots=_folders(environ, "PORTAL_MAILDIR_ROOTS"),
        proxy_socket=Path(text) if (text := environ.get("PORTAL_PROXY_SOCKET")) else None,
        proxy_group=_group(environ, "PORTAL_PROXY_GROUP"),
        proxy_user_header=_field_name(environ, "PORTAL_PROXY_USER_HEADER"),
        proxy_groups_header=_field_name(environ, "PORTAL_PROXY_GROUPS_HEADER") or "Remote-Groups",
        log_format=_log_format(environ.get("PORTAL_LOG_FORMAT") or "text"),
    )


def parse_bind(text: str, name: str = "PORTAL_BIND") -> tuple[str, int]:
    """Split ``host:port``, with an IPv6 host in brackets. Raise ConfigError that begins with ``name``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"{name}: {text!r} is not host:port, for example 127.0.0.1:8000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host means all addresses


def _submission(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the SMTP listeners; beyond this host, passwords need TLS."""
    certificate, key = _readable(environ, "PORTAL_SUBMISSION_CERTIFICATE"), _readable(environ, "PORTAL_SUBMISSION_KEY")
    names = {"submission": "PORTAL_SUBMISSION", "submission_tls": "PORTAL_SUBMISSION_TLS", "relay": "PORTAL_RELAY"}
    found: dict[str, Any] = {
        name: parse_bind(text, variable) for name, variable in names.items() if (text := environ.get(variable))
    }
    if bool(certificate) != bool(key):
        raise ConfigError("PORTAL_SUBMISSION_CERTIFICATE and PORTAL_SUBMISSION_KEY: set both or neither")
    if "submission_tls" in found and not certificate:
        raise ConfigError("PORTAL_SUBMISSION_TLS needs PORTAL_SUBMISSION_CERTIFICATE and PORTAL_SUBMISSION_KEY")
    if "submission" in found and not certificate and not is_loopback(found["submission"][0]):
        raise ConfigError(
            f"PORTAL_SUBMISSION: {found['submission'][0]} is not a loopback address; without TLS, only 127.0.0.1 is "
            "allowed. Set PORTAL_SUBMISSION_CERTIFICATE and PORTAL_SUBMISSION_KEY"
        )
    return found | {"submission_certificate": certificate, "submission_key": key}


def _group(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    try:
        if text:
            grp.getgrnam(text)
    except KeyError as error:
        raise ConfigError(f"{name}: the Unix group {text!r} does not exist") from error
    return text


def _networks(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    listed = split_list(environ.get(name, ""))
    try:
        return tuple(str(ipaddress.ip_network(text)) for text in listed)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}; enter networks such as 10.0.0.0/8, separated by commas") from error


def _folders(environ: Mapping[str, str], name: str) -> tuple[Path, ...]:
    listed = [Path(text) for text in environ.get(name, "").split(":") if text]
    if wrong := [path for path in listed if not path.is_absolute()]:
        raise ConfigError(f"{name}: {wrong[0]} does not begin with a slash; separate folders with colons")
    return tuple(path.resolve() for path in listed)


def _field_name(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    if not re.fullmatch(r"[A-Za-z0-9-]*", text):
        raise ConfigError(f"{name}: {text!r} is not the name of a header field, such as Remote-User")
    return text


def _backups(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the scheduled backups; with a folder, the recipient is required."""
    folder, recipient = environ.get("PORTAL_BACKUP_FOLDER", ""), environ.get("PORTAL_BACKUP_RECIPIENT", "")
    if not folder:
        return {}
    if not recipient.startswith("age1"):
        raise ConfigError("PORTAL_BACKUP_RECIPIENT: enter a public key of age, which begins with age1")
    hours, keep = _count(environ, "PORTAL_BACKUP_HOURS", "24"), _count(environ, "PORTAL_BACKUP_KEEP", "7")
    if not Path(folder).is_absolute() or not hours or not keep:
        raise ConfigError("PORTAL_BACKUP_FOLDER: enter a full path, and PORTAL_BACKUP_HOURS and _KEEP of at least 1")
    return {"backup_folder": Path(folder), "backup_recipient": recipient, "backup_hours": hours, "backup_keep": keep}


def _url(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name)
    if text and not re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", text):
        raise ConfigError(f"{name}={text}: enter a URL such as http://collector.example.com:4318")
    return text or None


def _audit_copy(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    scheme, _, place = text.partition(":")
    if text and not (scheme in ("file", "syslog") and place.startswith("/")):
        if scheme != "syslog":
            raise ConfigError(f"{name}: {text!r} is neither file:/path nor syslog:/socket nor syslog:host:port")
        parse_bind(place, name)
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


def _count(environ: Mapping[str, str], name: str, usual: str = "0") -> int:
    text = environ.get(name) or usual
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{name}: {text!r} is not a number, for example 1")
    return int(text)


def _log_format(text: str) -> LogFormat:
    if text not in ("text", "json"):
        raise ConfigError(f"PORTAL_LOG_FORMAT: {text!r} is neither text nor json")
    return cast(LogFormat, text)
