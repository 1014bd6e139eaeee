"""Portal-wide settings, under Znuny's names where Znuny has them. Kept in the database, read at each use."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from portal import audit
from portal.db import transaction
from portal.errors import Invalid, NotFound
from portal.models import Setting

#: First segments of addresses that the portal serves itself.
_TAKEN = {
    "api", "api-keys", "destinations", "events", "healthz", "login", "logout", "mail-accounts", "metrics", "outbound",
    "readyz", "runs", "settings", "setup", "sign-in", "static", "status", "tokens", "users", "web-services",
}  # fmt: skip
REDIRECT_SCRIPT = "get-oauth2-token-by-authorization-code"


@dataclass(frozen=True)
class Known:
    """A setting that exists: ``check`` returns the value as it is stored, or raises ValueError with the reason."""

    name: str
    default: str
    help: str
    check: Callable[[str], str]


def _http_type(text: str) -> str:
    if text not in ("http", "https"):
        raise ValueError("Either http or https.")
    return text


def _fqdn(text: str) -> str:
    name, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host = name if colon else text
    if not re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) or (
        colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536)
    ):
        raise ValueError("A host name, and a port if it is not the usual one: mail.example.com:8443.")
    return text


def _script_alias(text: str) -> str:
    segments = text.strip("/").split("/") if text.strip("/") else []
    if not all(re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", segment) for segment in segments):
        raise ValueError("A path such as znuny/ or nothing.")
    if segments and segments[0] in _TAKEN:
        raise ValueError(f"The portal has pages of its own below /{segments[0]}.")
    return "".join(f"{segment}/" for segment in segments)


def _script(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{7,}", text) or text in _TAKEN:
        raise ValueError(f"One path segment of eight characters or more, such as {REDIRECT_SCRIPT}.pl.")
    return text


def _between(low: int, high: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"A whole number from {low} to {high}.")
        return str(int(text))

    return check


def _hosts(text: str) -> str:
    hosts = [host.strip().lower() for host in text.split(",") if host.strip()]
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
        raise ValueError("Host names, separated by commas.")
    return ", ".join(hosts)


def _headers(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(re.fullmatch(r"[A-Za-z0-9-]+\*?", name) for name in names):
        raise ValueError("Names of header fields, separated by commas, for example X-OTRS-*.")
    return ", ".join(names)


def _time_zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("A name of the tz database, such as Europe/Berlin or UTC.")
    return text


def _address(text: str) -> str:
    if text and not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", text):
        raise ValueError("An address, or nothing.")
    return text


#: Znuny's name.
POP3_SPLIT_HOSTS = "MailAccount::POP3::Auth::SplitOAuth2MethodAndToken::Hosts"
KNOWN = {
    known.name: known
    for known in (
        Known(
            "HttpType",
            "http",
            "How browsers reach the portal: http or https. Microsoft and Google want https.",
            _http_type,
        ),
        Known("FQDN", "127.0.0.1:8000", "Under which host name (and port) browsers reach the portal.", _fqdn),
        Known(
            "ScriptAlias",
            "",
            "The path in front of the redirect script, ending in a slash; may be empty.",
            _script_alias,
        ),
        Known("RedirectScript", REDIRECT_SCRIPT, "The last segment of the redirect URI.", _script),
        Known("FetchInterval", "300", "Seconds between two fetches of a mail account.", _between(5, 86400)),
        Known("RefreshMargin", "900", "Seconds before its end at which a token is renewed.", _between(5, 43200)),
        Known(
            POP3_SPLIT_HOSTS,
            "outlook.office365.com, pop-mail.outlook.com",
            "POP3 servers that want method and token in two lines, separated by commas.",
            _hosts,
        ),
        Known(
            "PostMasterMaxEmailSize",
            "16384",
            "Kilobytes; a larger message stays on the server, named once. 0: no limit.",
            _between(0, 1_000_000),
        ),
        Known(
            "UntrustedHeaders",
            "X-OTRS-*, X-Znuny-*",
            "Header fields taken off the mail of accounts that are not trusted; * stands for any characters.",
            _headers,
        ),
        Known(
            "TimeZone",
            "UTC",
            "The zone of times of day that are entered, for example Europe/Berlin.",
            _time_zone,
        ),
        Known(
            "LocalMailAddress",
            "",
            "Where mail to users of this machine, such as root, is sent; empty: to root@ and the portal's FQDN.",
            _address,
        ),
        Known("Retention", "90", "Days that runs and messages off their server are remembered.", _between(1, 3650)),
        Known("ProviderRequests", "4", "Token requests under way at once at one provider host.", _between(1, 100)),
    )
}


def get(name: str) -> str:
    """The value that is in force; NotFound for a name that is not a setting."""
    known = _known(name)
    row = Setting.get_or_none(Setting.name == name)
    return row.value if row else known.default


def everything() -> dict[str, str]:
    stored = {row.name: row.value for row in Setting.select()}
    return {name: stored.get(name, known.default) for name, known in KNOWN.items()}


def change(values: dict[str, str], *, actor: str, now: datetime) -> None:
    """Store all values or none; Invalid names each bad one."""
    checked, problems = {}, {}
    for name, text in values.items():
        try:
            checked[name] = _known(name).check(text.strip())
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise Invalid(problems)
    with transaction():
        for name, value in checked.items():
            if value != get(name):
                _store(name, value, actor, now)


def remember_address(address: str, *, now: datetime) -> None:
    """At first start: browsers reach the portal where it listens, until an admin says otherwise."""
    if Setting.get_or_none(Setting.name == "FQDN") is None and address != KNOWN["FQDN"].default:
        change({"FQDN": address}, actor="first start", now=now)


def host() -> str:
    """The portal's name without its port."""
    return re.sub(r":\d+$", "", get("FQDN")).strip("[]")


def redirect_uri() -> str:
    """``<HttpType>://<FQDN>/<ScriptAlias><RedirectScript>``, from settings alone, never from the request."""
    values = everything()
    return f"{values['HttpType']}://{values['FQDN']}/{values['ScriptAlias']}{values['RedirectScript']}"


def redirect_uri_warnings(browser_origin: str | None) -> list[str]:
    """What an admin should know about the redirect URI; ``browser_origin`` is None away from a browser."""
    parts = urlsplit(redirect_uri())
    warnings = []
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        warnings.append("It is not https: Microsoft and Google will refuse it. Set HttpType to https.")
    if browser_origin and browser_origin != f"{parts.scheme}://{parts.netloc}":
        warnings.append(
            f"Your browser is at {browser_origin}: a sign-in begun here cannot come back. "
            f"Correct FQDN and HttpType, or open the portal at {parts.scheme}://{parts.netloc}."
        )
    return warnings


def fetch_interval() -> timedelta:
    return timedelta(seconds=int(get("FetchInterval")))


def refresh_margin() -> timedelta:
    return timedelta(seconds=int(get("RefreshMargin")))


def pop3_split_hosts() -> list[str]:
    return get(POP3_SPLIT_HOSTS).split(", ")


def largest_message() -> int | None:
    """In bytes; None: no limit."""
    return int(get("PostMasterMaxEmailSize")) * 1024 or None


def untrusted_headers() -> list[str]:
    """Patterns in lower case."""
    return [name for name in get("UntrustedHeaders").lower().split(", ") if name]


def local_mail_address() -> str:
    return get("LocalMailAddress")


def time_zone() -> ZoneInfo:
    return ZoneInfo(get("TimeZone"))


def retention() -> timedelta:
    return timedelta(days=int(get("Retention")))


def provider_requests() -> int:
    return int(get("ProviderRequests"))


def _known(name: str) -> Known:
    if name not in KNOWN:
        raise NotFound(f"There is no setting named {name!r}; there are {', '.join(KNOWN)}.")
    return KNOWN[name]


def _store(name: str, value: str, actor: str, now: datetime) -> None:
    Setting.insert(name=name, value=value, changed_at=now).on_conflict(
        conflict_target=[Setting.name], update={Setting.value: value, Setting.changed_at: now}
    ).execute()
    audit.record(actor, "setting:changed", "setting", None, name, f"{name} is now {value or 'empty'}", now)
