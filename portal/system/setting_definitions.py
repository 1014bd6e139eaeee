"""The portal-wide settings that there are: default, help, and what a value must look like."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import available_timezones

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


def _addresses(text: str) -> str:
    found = [address.strip() for address in text.split(",") if address.strip()]
    for address in found:
        _address(address)
    return ", ".join(found)


def _server(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}", text):
        raise ValueError("Host and port, such as mail.example.com:25, or nothing.")
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
        Known(
            "NoticeRecipients",
            "",
            "Who is told of notices by mail: addresses, separated by commas; empty: nobody.",
            _addresses,
        ),
        Known("NoticeSender", "", "The sender of notices; empty: portal@ and the portal's FQDN.", _address),
        Known(
            "NoticeServer",
            "",
            "A mail server, host:port, that takes notices without a sign-in, from this machine alone or over a "
            "trusted network; empty: they go through the outbound profile that serves their sender.",
            _server,
        ),
        Known(
            "NoticeAfter",
            "10",
            "Minutes that trouble which passes by itself lasts before it is told.",
            _between(1, 1440),
        ),
        Known("NoticeReminder", "24", "Hours after which a notice that lasts is told again.", _between(1, 720)),
        Known(
            "SecretWarning",
            "30",
            "Days before its end at which a client secret or certificate is told.",
            _between(1, 365),
        ),
        Known("TokenWarning", "7", "Days before its likely end at which a refresh token is told.", _between(1, 80)),
        Known(
            "NotFetchedTimes", "5", "A mailbox that was not fetched for so many intervals is told.", _between(2, 1000)
        ),
        Known("DiskWarning", "10", "Percent of a disk; when less is free it is told.", _between(1, 50)),
        Known("Retention", "90", "Days that runs and messages off their server are remembered.", _between(1, 3650)),
        Known("ProviderRequests", "4", "Token requests under way at once at one provider host.", _between(1, 100)),
    )
}
