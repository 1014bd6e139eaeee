"""Definitions of the portal-wide settings: default, help text and validation."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import available_timezones

from portal.core.language import ENGLISH, _, languages
from portal.core.text import split_list
from portal.models import Role

#: First path segments of the portal's own pages.
_TAKEN = {
    "api", "api-keys", "destinations", "events", "healthz", "login", "logout", "mail-accounts", "metrics", "outbound",
    "confirm", "diagnosis", "notices", "profile", "readyz", "runs", "search", "settings", "setup", "sign-in", "static",
    "status", "tokens", "users", "web-services",
}  # fmt: skip
REDIRECT_SCRIPT = "get-oauth2-token-by-authorization-code"


@dataclass(frozen=True)
class Known:
    """A setting definition. ``check`` returns the value to store, or raises ValueError with the reason."""

    name: str
    default: str
    help: str
    check: Callable[[str], str]
    #: Whether it decides who is an admin, how users sign in, or how long the audit trail is kept: not for programs.
    decides_access: bool = False


def _http_type(text: str) -> str:
    if text not in ("http", "https"):
        raise ValueError(_("Enter http or https."))
    return text


def _fqdn(text: str) -> str:
    name, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host = name if colon else text
    if not re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) or (
        colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536)
    ):
        raise ValueError(_("Enter a host name, and the port if it is not the default: mail.example.com:8443."))
    return text


def _script_alias(text: str) -> str:
    segments = text.strip("/").split("/") if text.strip("/") else []
    if not all(re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", segment) for segment in segments):
        raise ValueError(_("Enter a path such as znuny/, or leave empty."))
    if segments and segments[0] in _TAKEN:
        raise ValueError(_("The path /{segment} is reserved for the portal's own pages.", segment=segments[0]))
    return "".join(f"{segment}/" for segment in segments)


def _script(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{7,}", text) or text in _TAKEN:
        raise ValueError(
            _(
                "Enter one path segment of at least eight characters, such as {redirect_script}.pl.",
                redirect_script=REDIRECT_SCRIPT,
            )
        )
    return text


@dataclass(frozen=True)
class Between:
    """The check of a whole number: its limits are also the limits of the field on the page."""

    low: int
    high: int

    def __call__(self, text: str) -> str:
        if not (text.isascii() and text.isdigit() and self.low <= int(text) <= self.high):
            raise ValueError(_("Enter a whole number from {low} to {high}.", low=self.low, high=self.high))
        return str(int(text))


def _hosts(text: str) -> str:
    hosts = [host.strip().lower() for host in text.split(",") if host.strip()]
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) for host in hosts):
        raise ValueError(_("Enter host names, separated by commas."))
    return ", ".join(hosts)


def _headers(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(re.fullmatch(r"[A-Za-z0-9-]+\*?", name) for name in names):
        raise ValueError(_("Enter header field names, separated by commas, for example X-OTRS-*."))
    return ", ".join(names)


def _language(text: str) -> str:
    if text not in languages():
        raise ValueError(_("Enter one of these languages: {names}.", names=", ".join(languages())))
    return text


def _time_zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError(_("Enter a name from the tz database, such as Europe/Berlin or UTC."))
    return text


def _address(text: str) -> str:
    if text and not re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", text):
        raise ValueError(_("Enter valid addresses, or leave empty."))
    return text


def _addresses(text: str) -> str:
    found = [address.strip() for address in text.split(",") if address.strip()]
    for address in found:
        _address(address)
    return ", ".join(found)


def _server(text: str) -> str:
    host_and_port = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:([0-9]{1,5})", text)
    if text and not (host_and_port and 0 < int(host_and_port[2]) < 65536):
        raise ValueError(_("Enter host and port, such as mail.example.com:25, or leave empty."))
    return text


#: The name of this setting in Znuny.
POP3_SPLIT_HOSTS = "MailAccount::POP3::Auth::SplitOAuth2MethodAndToken::Hosts"


def _contact(text: str) -> str:
    if text and not re.fullmatch(r"https://\S+|tel:\S+|[^@\s<>:]+@[^@\s<>:]+", text):
        raise ValueError(_("enter an email address, or a URL that begins with https://"))
    return text


def _roles(text: str) -> str:
    names = split_list(text)
    if wrong := sorted(set(names) - set(Role)):
        raise ValueError(_("{name} is no role; enter {names}", name=wrong[0], names=", ".join(Role)))
    return ", ".join(names)


KNOWN = {
    known.name: known
    for known in (
        Known(
            "HttpType",
            "http",
            _("Scheme of the portal's address: http or https. Microsoft and Google require https."),
            _http_type,
        ),
        Known("FQDN", "127.0.0.1:8000", _("Host name (and port) at which browsers reach the portal."), _fqdn),
        Known(
            "ScriptAlias",
            "",
            _("Path before the redirect script, ending in a slash; may be empty."),
            _script_alias,
        ),
        Known("RedirectScript", REDIRECT_SCRIPT, _("Last path segment of the redirect URI."), _script),
        Known(
            "HostAliases",
            "",
            _("Further host names at which the portal may be opened; separate them with commas."),
            _hosts,
            decides_access=True,
        ),
        Known("FetchInterval", "300", _("Seconds between two fetches of a mail account."), Between(5, 86400)),
        Known("RefreshMargin", "900", _("Seconds before expiry at which a token is refreshed."), Between(5, 43200)),
        Known(
            POP3_SPLIT_HOSTS,
            "outlook.office365.com, pop-mail.outlook.com",
            _("POP3 servers that require OAuth2 method and token on two lines; separate them with commas."),
            _hosts,
        ),
        Known(
            "PostMasterMaxEmailSize",
            "16384",
            _("Kilobytes. Larger messages stay on the server and are reported once. 0: no limit."),
            Between(0, 1_000_000),
        ),
        Known(
            "UntrustedHeaders",
            "X-OTRS-*, X-Znuny-*",
            _("Header fields removed from mail of accounts that are not trusted; * matches any characters."),
            _headers,
        ),
        Known(
            "TimeZone",
            "UTC",
            _(
                "Time zone of the pages and of times of day in forms, for example Europe/Berlin. Users can choose "
                "another one for the pages in their profile."
            ),
            _time_zone,
        ),
        Known(
            "DefaultLanguage",
            ENGLISH,
            _(
                "Language of notices by email and of pages for browsers that ask for no language the portal has. Users "
                "can choose another one for the pages in their profile."
            ),
            _language,
        ),
        Known(
            "LocalMailAddress",
            "",
            _("Address that receives mail for local users, such as root. Empty: root@ followed by the portal's FQDN."),
            _address,
        ),
        Known(
            "NoticeRecipients",
            "",
            _("Addresses that receive notices by email, separated by commas. Empty: no email is sent."),
            _addresses,
        ),
        Known("NoticeSender", "", _("Sender of notices. Empty: portal@ followed by the FQDN."), _address),
        Known(
            "NoticeServer",
            "",
            _(
                "Mail server, host:port, that accepts notices without authentication, on this host or on a trusted "
                "network. Empty: notices are sent through the outbound profile that serves their sender."
            ),
            _server,
        ),
        Known(
            "UnencryptedHosts",
            "",
            _(
                "Hosts of a trusted network, separated by commas, that mail, notices and web service calls may be sent "
                "to without TLS. Everyone on the way can read them. Passwords and tokens are never sent without TLS."
            ),
            _hosts,
        ),
        Known(
            "NoticeAfter",
            "10",
            _("Minutes before a temporary problem is reported."),
            Between(1, 1440),
        ),
        Known("NoticeReminder", "24", _("Hours between reminders of an open notice."), Between(1, 720)),
        Known(
            "SecretWarning",
            "30",
            _("Days before expiry at which a client secret or certificate is reported."),
            Between(1, 365),
        ),
        Known(
            "TokenWarning",
            "7",
            _("Days before the likely expiry at which a refresh token is reported."),
            Between(1, 80),
        ),
        Known(
            "NotFetchedTimes",
            "5",
            _("Number of fetch intervals without a fetch after which a mailbox is reported."),
            Between(2, 1000),
        ),
        Known("DiskWarning", "10", _("Percent of free space below which a disk is reported."), Between(1, 50)),
        Known(
            "Retention",
            "90",
            _(
                "Days that runs, messages removed from their server, sent messages, calls and resolved notices are "
                "kept."
            ),
            Between(1, 3650),
        ),
        *(
            Known(
                f"Proxy{role.value.title()}Groups",
                "",
                _("Groups that the reverse proxy names and whose users have this role, separated by commas."),
                str,
                decides_access=True,
            )
            for role in Role
        ),
        Known(
            "SecurityContact", "", _("Address or URL at which vulnerabilities are reported (security.txt)."), _contact
        ),
        Known(
            "FourEyes",
            "0",
            _("1: an export with secrets needs the approval of another admin."),
            Between(0, 1),
            decides_access=True,
        ),
        Known(
            "AuditRetention",
            "0",
            _("Days that events of the audit trail are kept. 0: for ever."),
            Between(0, 36500),
            decides_access=True,
        ),
        Known(
            "SecondFactorRoles",
            "",
            _("Roles whose users with a password need a second factor, such as admin."),
            _roles,
            decides_access=True,
        ),
        Known(
            "SessionIdle",
            "8",
            _("Hours without a request after which a user is signed out."),
            Between(1, 168),
            decides_access=True,
        ),
        Known(
            "SessionLife",
            "168",
            _("Hours after its sign-in at which a session ends."),
            Between(1, 8760),
            decides_access=True,
        ),
        Known("ProviderRequests", "4", _("Maximum concurrent token requests to one provider host."), Between(1, 100)),
        Known("MailConnections", "32", _("Maximum concurrent fetches from one mail server."), Between(1, 1000)),
    )
}
