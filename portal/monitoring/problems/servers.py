"""Detection of failing mail accounts, outbound profiles and web services, grouped by server or destination."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from peewee import fn

from portal import causes
from portal.causes import Cause, Fault, Where
from portal.core.errors import Side
from portal.core.language import _, _n
from portal.incoming import mailbox_connection
from portal.models import (
    CallState,
    Destination,
    DestinationType,
    Failing,
    MailAccount,
    OutboundProfile,
    Row,
    Token,
    TokenConfig,
    Validity,
    WebService,
    WebServiceCall,
    tuples,
)
from portal.monitoring.problems.problem import Problem, grouped, problem, within
from portal.outgoing import profile_connection
from portal.system import settings

#: Minimum delay before a mailbox counts as overdue.
_LATE = timedelta(minutes=30)


@dataclass(frozen=True)
class _Failing:
    """A failing mail account, outbound profile or web service."""

    row: Failing
    name: str
    what: str
    host: str
    where: Where
    since: datetime
    #: When the last attempt failed. None: recorded by an older version without this time.
    failed_at: datetime | None
    response: str
    side: Side
    next_try: datetime | None
    token_id: int | None
    login: str
    destination: Destination | None = None
    #: The mail account dispatches by address.
    by_address: bool = False


def of_servers(unusable: set[int], now: datetime) -> list[Problem]:
    """Return the problems of servers and destinations. ``unusable``: tokens whose rows are left out."""
    patience, off = settings.notice_after(), _switched_off_tokens()
    failing = [one for one in [*_accounts(), *_profiles(), *_services()] if not _is_covered(one, unusable, off)]
    causes_of = [(one, _cause(one)) for one in failing]
    # An attempt must have failed after the notice delay: without a recent attempt the server may work again.
    certain = [
        (one, cause)
        for one, cause in causes_of
        if _is_certain(one, cause) or (one.failed_at or now) - one.since >= patience
    ]
    # A web service whose failure is reported with its destination is not reported separately.
    behind = {one.destination.web_service for one, _ in certain if _fails_at_its_destination(one) and one.destination}
    return grouped([_problem(one, cause) for one, cause in certain if one.row not in behind])


def _is_covered(one: _Failing, unusable: set[int], off: set[int]) -> bool:
    """Whether the failure is that of the token, which is reported separately, or of a disabled configuration."""
    by_token = one.side is not Side.DESTINATION and one.token_id in unusable
    return one.side is Side.PROVIDER or by_token or one.token_id in off


def _fails_at_its_destination(one: _Failing) -> bool:
    """With dispatching by address, the failed destination is unknown."""
    return one.destination is not None and one.side is Side.DESTINATION and not one.by_address


def _switched_off_tokens() -> set[int]:
    """Return the token IDs of configurations that are set to invalid."""
    query = Token.select(Token.id).join(TokenConfig).where(TokenConfig.validity != Validity.VALID)
    return {token_id for (token_id,) in tuples(query)}


def _cause(one: _Failing) -> Cause:
    """Return the cause that was stored with the failure."""
    where = one.where
    if one.side is Side.DESTINATION and one.destination is not None:
        where = Where.HTTP if one.destination.type is DestinationType.WEB_SERVICE else Where.DESTINATION
    return causes.stored(one.row.failure_cause, one.response, where, by_password=one.token_id is None)


def _is_certain(one: _Failing, cause: Cause) -> bool:
    """Whether to report the problem at once. Rejections by a mail server may be temporary, a full disk is not."""
    return one.side is Side.DESTINATION and not cause.temporary and cause.name != causes.UNKNOWN


def _problem(one: _Failing, cause: Cause) -> Problem:
    """Return the problem of the destination, of the server, or of this row alone."""
    row: Row = one.row
    where, title = one.where, within(cause.title)
    facts = {"mailbox": one.login, "host": one.host}
    if _fails_at_its_destination(one) and one.destination is not None:
        row, where = one.destination, Where.DESTINATION
        key, text = (
            f"destination {row.id}",
            _("Destination “{name}” does not accept mail: {reason}.", name=one.destination.name, reason=title),
        )
        facts["path"] = one.destination.path
    elif cause.fault in (Fault.NETWORK, Fault.PROVIDER) and cause.name != causes.UNKNOWN:
        key, text = f"server {one.host}", _("{name}: {reason}.", name=one.host, reason=title)
    else:
        key, text = f"{row.kind} {row.id}", _("{name}: {reason}.", name=one.name, reason=title)
    return problem(
        key, text, cause, one.since, response=one.response, about=row, affected=(one.what,), facts=facts,
        next_try=one.next_try, where=where,
    )  # fmt: skip


def _accounts() -> list[_Failing]:
    rows = MailAccount.select(MailAccount, Destination).join(Destination)
    failing = rows.where(MailAccount.validity == Validity.VALID, MailAccount.failing_since.is_null(False))
    return [
        _Failing(
            row, _("Mail account “{name}” cannot be fetched", name=row.name), row.name, row.host,
            mailbox_connection.where(row),
            _since(row), row.failed_at, row.failure or "", row.failing_side or Side.SERVER, row.due_at,
            _token_id(row), row.login, row.destination, row.dispatch_by_address,
        )
        for row in failing.order_by(MailAccount.name)
    ]  # fmt: skip


def _profiles() -> list[_Failing]:
    failing = OutboundProfile.select().where(
        OutboundProfile.validity == Validity.VALID, OutboundProfile.failing_since.is_null(False)
    )
    return [
        _Failing(
            row, _("Outbound profile “{name}” cannot send", name=row.name), _("outbound profile {name}", name=row.name),
            row.host, profile_connection.where(row), _since(row), row.failed_at, row.failure or "",
            row.failing_side or Side.SERVER, row.due_at, _token_id(row), row.login,
        )
        for row in failing.order_by(OutboundProfile.name)
    ]  # fmt: skip


def _services() -> list[_Failing]:
    """Return the web services with more than one failed attempt: a single bad body is no problem of the service."""
    failing = WebService.select().where(WebService.validity == Validity.VALID, WebService.failing_since.is_null(False))
    tries = _failed_tries()
    return [
        _Failing(
            row, _("Calls to web service “{name}” fail", name=row.name), _("web service {name}", name=row.name),
            urlsplit(row.url).hostname or row.url,
            Where.HTTP, _since(row), row.failed_at, row.failure or "", row.failing_side or Side.SERVER, None,
            _token_id(row), row.login,
        )
        for row in failing.order_by(WebService.name)
        if tries.get(row.id, 0) > 1
    ]  # fmt: skip


def _failed_tries() -> dict[int, int]:
    """Return the number of failed attempts per web service since it started failing."""
    since = WebServiceCall.ended_at.is_null() | (WebServiceCall.ended_at >= WebService.failing_since)
    calls = WebServiceCall.select(WebServiceCall.web_service, fn.SUM(WebServiceCall.tries)).join(WebService)
    counted = calls.where(since, WebServiceCall.state != CallState.DONE).group_by(WebServiceCall.web_service)
    return {service_id: int(tries) for service_id, tries in tuples(counted)}


def _token_id(row: MailAccount | OutboundProfile | WebService) -> int | None:
    """Return the token ID without loading the token."""
    found: int | None = row.__data__["token"]
    return found


def _since(row: MailAccount | OutboundProfile | WebService) -> datetime:
    assert row.failing_since is not None
    return row.failing_since


def not_fetched(unusable: set[int], covered: set[str], now: datetime) -> list[Problem]:
    """Return the problem of mailboxes that are overdue by several fetch intervals without another known cause."""
    usual, times = settings.fetch_interval(), settings.not_fetched_times()
    late = [row for row in _fetchable(now - _LATE) if _token_id(row) not in unusable and row.name not in covered]
    late = [row for row in late if _is_late(row, usual, times, now)]
    if not late:
        return []
    text = _n(
        "Mail account “{name}” has not been fetched for {times} fetch intervals.",
        "{count} mail accounts have not been fetched for {times} fetch intervals.",
        len(late),
        name=late[0].name,
        times=times,
    )
    return [
        problem(
            "not fetched",
            text,
            causes.named("not-fetched"),
            min(row.fetched_at or row.created_at for row in late),
            about=late[0] if len(late) == 1 else None,
            affected=tuple(row.name for row in late),
        )
    ]


def _fetchable(before: datetime) -> list[MailAccount]:
    """Return valid accounts, with a password or a signed-in token, that have not been fetched since ``before``."""
    rows = MailAccount.select(MailAccount).left_outer_join(Token).left_outer_join(TokenConfig)
    in_use = (TokenConfig.validity == Validity.VALID) & Token.obtained_at.is_null(False)
    ready = (MailAccount.validity == Validity.VALID) & (MailAccount.token.is_null() | in_use)
    unfetched = MailAccount.fetched_at.is_null() | (MailAccount.fetched_at < before)
    return list(rows.where(ready, unfetched, MailAccount.changed_at < before).order_by(MailAccount.name))


def _is_late(row: MailAccount, usual: timedelta, times: int, now: datetime) -> bool:
    """Whether an account is overdue by several intervals and was not just rescheduled, or waits for its token."""
    if row.failing_since is not None and row.failing_side is Side.PROVIDER:
        return now - row.failing_since > _LATE
    if row.due_at is None or now - row.due_at <= _LATE:
        return False
    own = row.fetch_interval
    interval = timedelta(seconds=own) if own else usual
    since = max(moment for moment in (row.fetched_at, row.changed_at) if moment)
    return bool(row.fetch_times) or now - since > times * interval
