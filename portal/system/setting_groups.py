"""The settings as the page shows them: in groups, each with a label in plain words and the fitting input."""

from dataclasses import dataclass
from zoneinfo import available_timezones

from portal.core.language import _, languages
from portal.system.setting_definitions import KNOWN, Between, Known


@dataclass(frozen=True)
class Shown:
    """``unit``: what a number counts; ``choices``: values with labels, of which one is chosen."""

    name: str
    label: str
    unit: str = ""
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def known(self) -> Known:
        return KNOWN[self.name]

    @property
    def limits(self) -> Between | None:
        """None: the value is no number."""
        return self.known.check if isinstance(self.known.check, Between) else None


_ZONES = tuple((name, name) for name in sorted(available_timezones()))

GROUPS: dict[str, tuple[Shown, ...]] = {
    _("Address of the portal"): (
        Shown("HttpType", _("Scheme"), choices=(("http", "http"), ("https", "https"))),
        Shown("FQDN", _("Host name and port")),
        Shown("ScriptAlias", _("Path before the redirect script")),
        Shown("RedirectScript", _("Redirect script")),
        Shown("HostAliases", _("Further host names")),
        Shown("TimeZone", _("Time zone"), choices=_ZONES),
        Shown("DefaultLanguage", _("Language"), choices=tuple(languages().items())),
    ),
    _("Tokens"): (
        Shown("RefreshMargin", _("Refresh before expiry"), _("seconds")),
        Shown("ProviderRequests", _("Requests to a provider at once"), _("requests")),
    ),
    _("Fetching mail"): (
        Shown("FetchInterval", _("Time between two fetches"), _("seconds")),
        Shown("MailConnections", _("Fetches from a mail server at once"), _("connections")),
        Shown("PostMasterMaxEmailSize", _("Largest message"), _("kilobytes")),
        Shown("UntrustedHeaders", _("Header fields that are removed")),
        Shown("MailAccount::POP3::Auth::SplitOAuth2MethodAndToken::Hosts", _("POP3 servers with the token on a line")),
        Shown("UnencryptedHosts", _("Hosts without TLS")),
        Shown("LocalMailAddress", _("Recipient of mail for local users")),
    ),
    _("Notices"): (
        Shown("NoticeRecipients", _("Recipients")),
        Shown("NoticeSender", _("Sender")),
        Shown("NoticeServer", _("Mail server")),
        Shown("NoticeAfter", _("Patience with temporary problems"), _("minutes")),
        Shown("NoticeReminder", _("Time between reminders"), _("hours")),
        Shown("SecretWarning", _("Warn before a client secret expires"), _("days")),
        Shown("TokenWarning", _("Warn before a refresh token expires"), _("days")),
        Shown("NotFetchedTimes", _("Missed fetches until a warning"), _("fetches")),
        Shown("DiskWarning", _("Warn below free disk space"), _("percent")),
    ),
    _("Storage"): (
        Shown("Retention", _("Keep runs, messages and notices"), _("days")),
        Shown("AuditRetention", _("Keep the audit trail"), _("days")),
    ),
    _("Sign-in and security"): (
        Shown("SessionIdle", _("Sign out after no request"), _("hours")),
        Shown("SessionLife", _("Longest session"), _("hours")),
        Shown("SecondFactorRoles", _("Roles that need a second factor")),
        Shown(
            "FourEyes", _("Second admin for exports with secrets"), choices=(("0", _("not needed")), ("1", _("needed")))
        ),
        Shown("ProxyAdminGroups", _("Reverse proxy: groups of admins")),
        Shown("ProxyOperatorGroups", _("Reverse proxy: groups of operators")),
        Shown("ProxyAuditorGroups", _("Reverse proxy: groups of auditors")),
        Shown("ProxyViewerGroups", _("Reverse proxy: groups of viewers")),
        Shown("SecurityContact", _("Contact for vulnerabilities")),
    ),
}
