"""The settings as the page shows them: in groups, each with a label in plain words and the fitting input."""

from dataclasses import dataclass
from zoneinfo import available_timezones

from portal.system.setting_definitions import KNOWN, Known


@dataclass(frozen=True)
class Shown:
    """``unit``: the value is a number in this unit; ``choices``: values with labels, of which one is chosen."""

    name: str
    label: str
    unit: str = ""
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def known(self) -> Known:
        return KNOWN[self.name]


_ZONES = tuple((name, name) for name in sorted(available_timezones()))

GROUPS: dict[str, tuple[Shown, ...]] = {
    "Address of the portal": (
        Shown("HttpType", "Scheme", choices=(("http", "http"), ("https", "https"))),
        Shown("FQDN", "Host name and port"),
        Shown("ScriptAlias", "Path before the redirect script"),
        Shown("RedirectScript", "Redirect script"),
        Shown("HostAliases", "Further host names"),
        Shown("TimeZone", "Time zone", choices=_ZONES),
    ),
    "Tokens": (
        Shown("RefreshMargin", "Refresh before expiry", "seconds"),
        Shown("ProviderRequests", "Requests to a provider at once", "requests"),
    ),
    "Fetching mail": (
        Shown("FetchInterval", "Time between two fetches", "seconds"),
        Shown("MailConnections", "Fetches from a mail server at once", "connections"),
        Shown("PostMasterMaxEmailSize", "Largest message", "kilobytes"),
        Shown("UntrustedHeaders", "Header fields that are removed"),
        Shown("MailAccount::POP3::Auth::SplitOAuth2MethodAndToken::Hosts", "POP3 servers with the token on a line"),
        Shown("UnencryptedHosts", "Hosts without TLS"),
        Shown("LocalMailAddress", "Recipient of mail for local users"),
    ),
    "Notices": (
        Shown("NoticeRecipients", "Recipients"),
        Shown("NoticeSender", "Sender"),
        Shown("NoticeServer", "Mail server"),
        Shown("NoticeAfter", "Patience with temporary problems", "minutes"),
        Shown("NoticeReminder", "Time between reminders", "hours"),
        Shown("SecretWarning", "Warn before a client secret expires", "days"),
        Shown("TokenWarning", "Warn before a refresh token expires", "days"),
        Shown("NotFetchedTimes", "Missed fetches until a warning", "fetches"),
        Shown("DiskWarning", "Warn below free disk space", "percent"),
    ),
    "Storage": (
        Shown("Retention", "Keep runs, messages and notices", "days"),
        Shown("AuditRetention", "Keep the audit trail", "days"),
    ),
    "Sign-in and security": (
        Shown("SessionIdle", "Sign out after no request", "hours"),
        Shown("SessionLife", "Longest session", "hours"),
        Shown("SecondFactorRoles", "Roles that need a second factor"),
        Shown("FourEyes", "Second admin for exports with secrets", choices=(("0", "not needed"), ("1", "needed"))),
        Shown("ProxyAdminGroups", "Reverse proxy: groups of admins"),
        Shown("ProxyOperatorGroups", "Reverse proxy: groups of operators"),
        Shown("ProxyAuditorGroups", "Reverse proxy: groups of auditors"),
        Shown("ProxyViewerGroups", "Reverse proxy: groups of viewers"),
        Shown("SecurityContact", "Contact for vulnerabilities"),
    ),
}
