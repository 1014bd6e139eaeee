"""Portal-wide settings, with Znuny's names where Znuny has them. Stored in the database, read at each use."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from portal.core.db import transaction
from portal.core.errors import Invalid, NotFound
from portal.core.language import _
from portal.core.loopback import is_address, is_loopback
from portal.models import Setting
from portal.system import audit
from portal.system.setting_definitions import KNOWN, POP3_SPLIT_HOSTS, Known


def get(name: str) -> str:
    """The current value of a setting; raises NotFound for an unknown name."""
    known = _known(name)
    row = Setting.get_or_none(Setting.name == name)
    return row.value if row else known.default


def everything() -> dict[str, str]:
    stored = {row.name: row.value for row in Setting.select()}
    return {name: stored.get(name, known.default) for name, known in KNOWN.items()}


def change(values: dict[str, str], *, actor: str, now: datetime) -> None:
    """Store all values or none; Invalid maps each invalid setting to the reason."""
    checked, problems = {}, {}
    for name, text in values.items():
        try:
            checked[name] = _known(name).check(text.strip())
        except ValueError as error:
            problems[name] = str(error)
    if problems := problems | _clear_text_problems(checked):
        raise Invalid(problems)
    with transaction():
        for name, value in checked.items():
            if value != get(name):
                _store(name, value, actor, now)


def _clear_text_problems(checked: dict[str, str]) -> dict[str, str]:
    """The server of notices, which accepts them without TLS, must be this host or one of UnencryptedHosts."""
    host = checked.get("NoticeServer", "").rpartition(":")[0]
    allowed = checked.get("UnencryptedHosts", get("UnencryptedHosts")).split(", ")
    if not host or is_loopback(host) or host.lower() in allowed:
        return {}
    return {
        "NoticeServer": _("{host} would receive notices without TLS. Enter it in UnencryptedHosts as well.", host=host)
    }


def remember_address(address: str, *, now: datetime) -> None:
    """At the first start, set FQDN to the listening address, until an admin changes it."""
    if Setting.get_or_none(Setting.name == "FQDN") is None and address != KNOWN["FQDN"].default:
        change({"FQDN": address}, actor="first start", now=now)


def host() -> str:
    """The host name of FQDN, without the port."""
    return re.sub(r":\d+$", "", get("FQDN")).strip("[]")


def serves(name: str | None) -> bool:
    """Whether the portal may be opened under this host name. Addresses may: no other site has them as its name."""
    if is_loopback(name) or is_address(name) or name is None:
        return True
    return not _has_name(host()) or name in (host().lower(), *get("HostAliases").split(", "))


def _has_name(fqdn: str) -> bool:
    """Whether FQDN was changed from the address of the first start to a name."""
    return not (is_loopback(fqdn) or is_address(fqdn))


def uses_https() -> bool:
    """Whether browsers reach the portal over https."""
    return get("HttpType") == "https"


def portal_url() -> str:
    """The portal's base URL, ending in a slash."""
    return f"{get('HttpType')}://{get('FQDN')}/"


def fetch_interval() -> timedelta:
    return timedelta(seconds=int(get("FetchInterval")))


def refresh_margin() -> timedelta:
    return timedelta(seconds=int(get("RefreshMargin")))


def pop3_split_hosts() -> list[str]:
    return get(POP3_SPLIT_HOSTS).split(", ")


def unencrypted_hosts() -> list[str]:
    return [host for host in get("UnencryptedHosts").split(", ") if host]


def largest_message() -> int | None:
    """Maximum message size in bytes; None: no limit."""
    return int(get("PostMasterMaxEmailSize")) * 1024 or None


def untrusted_headers() -> list[str]:
    """Patterns of header field names, in lower case."""
    return [name for name in get("UntrustedHeaders").lower().split(", ") if name]


def local_mail_address() -> str:
    return get("LocalMailAddress")


def notice_after() -> timedelta:
    return timedelta(minutes=int(get("NoticeAfter")))


def notice_reminder() -> timedelta:
    return timedelta(hours=int(get("NoticeReminder")))


def notice_recipients() -> list[str]:
    return [address for address in get("NoticeRecipients").split(", ") if address]


def notice_sender() -> str:
    return get("NoticeSender") or f"portal@{host()}"


def notice_server() -> tuple[str, int] | None:
    """Host and port; None: notices are sent through an outbound profile."""
    name, _, port = get("NoticeServer").rpartition(":")
    return (name, int(port)) if name else None


def secret_warning() -> timedelta:
    return timedelta(days=int(get("SecretWarning")))


def token_warning() -> timedelta:
    return timedelta(days=int(get("TokenWarning")))


def not_fetched_times() -> int:
    return int(get("NotFetchedTimes"))


def disk_warning() -> int:
    """Minimum free disk space in percent."""
    return int(get("DiskWarning"))


def default_language() -> str:
    """The code of a language that has a catalog."""
    return get("DefaultLanguage")


def time_zone() -> ZoneInfo:
    return ZoneInfo(get("TimeZone"))


def retention() -> timedelta:
    return timedelta(days=int(get("Retention")))


def audit_retention() -> timedelta:
    """How long events of the audit trail are kept; zero: for ever."""
    return timedelta(days=int(get("AuditRetention")))


def needs_four_eyes() -> bool:
    return get("FourEyes") == "1"


def second_factor_roles() -> list[str]:
    return get("SecondFactorRoles").split(", ")


def session_idle_life() -> timedelta:
    return timedelta(hours=int(get("SessionIdle")))


def session_life() -> timedelta:
    return timedelta(hours=int(get("SessionLife")))


def provider_requests() -> int:
    return int(get("ProviderRequests"))


def mail_connections() -> int:
    return int(get("MailConnections"))


def _known(name: str) -> Known:
    if name not in KNOWN:
        raise NotFound(_("Unknown setting {name!r}. Known settings: {names}.", name=name, names=", ".join(KNOWN)))
    return KNOWN[name]


def _store(name: str, value: str, actor: str, now: datetime) -> None:
    Setting.insert(name=name, value=value, changed_at=now).on_conflict(
        conflict_target=[Setting.name], update={Setting.value: value, Setting.changed_at: now}
    ).execute()
    audit.record(actor, "setting:changed", "setting", None, name, f"{name} is now {value or 'empty'}", now)
