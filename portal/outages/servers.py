"""Mail accounts, outbound profiles and web services that fail by themselves, by server or destination at fault."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from portal import catalogue, settings
from portal.catalogue import Cause, Fault, Where
from portal.errors import Side
from portal.models import Destination, MailAccount, OutboundProfile, Row, Token, TokenConfig, Validity, WebService
from portal.outages.outage import Outage, within

#: At least this long, however short the interval.
_LATE = timedelta(minutes=30)


@dataclass(frozen=True)
class _Failing:
    """Something that fails, as rows of three kinds say it alike."""

    row: Row
    name: str
    what: str
    host: str
    where: Where
    since: datetime
    words: str
    side: Side
    tries: int
    next_try: datetime | None
    token_id: int | None
    login: str
    destination: Destination | None = None


def of_servers(resting: set[int], now: datetime) -> list[Outage]:
    """``resting``: tokens that are an outage already; what depends on one of them is among what stands still there."""
    found: dict[str, Outage] = {}
    patience = settings.notice_after()
    for one in [*_accounts(), *_profiles(), *_services()]:
        if one.side is Side.PROVIDER or one.token_id in resting:
            continue
        cause = _cause(one)
        if _is_new(one, cause, patience, now):
            continue
        outage = _outage(one, cause)
        first = found.setdefault(outage.key, outage)
        first.standing_still.append(one.what)
        first.since = min(first.since or now, one.since)
    return list(found.values())


def _cause(one: _Failing) -> Cause:
    return catalogue.recognise(one.words, Where.DESTINATION if one.side is Side.DESTINATION else one.where)


def _is_new(one: _Failing, cause: Cause, patience: timedelta, now: datetime) -> bool:
    """A mail server's refusal may be a disturbance, as its silence is: both must last. A full disk is a full disk."""
    if one.side is Side.DESTINATION and not cause.temporary:
        return False
    return now - one.since < patience or one.tries < 2


def _outage(one: _Failing, cause: Cause) -> Outage:
    """By destination, by server, or of this one alone."""
    row, where, title = one.row, one.where, within(cause.title)
    facts = {"mailbox": one.login, "host": one.host}
    if one.destination is not None and one.side is Side.DESTINATION:
        row, where = one.destination, Where.DESTINATION
        key, text = f"destination {row.id}", f"“{one.destination.name}” takes no mail: {title}."
        facts["path"] = one.destination.path
    elif cause.fault in (Fault.NETWORK, Fault.PROVIDER):
        key, text = f"server {one.host}", f"{one.host}: {title}."
    else:
        key, text = f"{row.kind} {row.id}", f"{one.name}: {title}."
    return Outage(key, text, cause, one.since, one.words, row, facts=facts, next_try=one.next_try, where=where)


def _accounts() -> list[_Failing]:
    rows = MailAccount.select(MailAccount, Destination).join(Destination)
    failing = rows.where(MailAccount.validity == Validity.VALID, MailAccount.failing_since.is_null(False))
    return [
        _Failing(
            row, f"“{row.name}” is not fetched", row.name, row.host, Where.POP3 if row.type.is_pop3 else Where.IMAP,
            _since(row), row.failure or "", row.failing_side or Side.SERVER, row.tries, row.look_at,
            _token_id(row), row.login, row.destination,
        )
        for row in failing.order_by(MailAccount.name)
    ]  # fmt: skip


def _profiles() -> list[_Failing]:
    failing = OutboundProfile.select().where(
        OutboundProfile.validity == Validity.VALID, OutboundProfile.failing_since.is_null(False)
    )
    return [
        _Failing(
            row, f"“{row.name}” does not send", f"outbound profile {row.name}", row.host, Where.SMTP,
            _since(row), row.failure or "", row.failing_side or Side.SERVER, row.tries, row.look_at,
            _token_id(row), row.login,
        )
        for row in failing.order_by(OutboundProfile.name)
    ]  # fmt: skip


def _services() -> list[_Failing]:
    """A call counts its own tries; the service fails from the first of them."""
    failing = WebService.select().where(WebService.validity == Validity.VALID, WebService.failing_since.is_null(False))
    return [
        _Failing(
            row, f"“{row.name}” is not called", f"web service {row.name}", urlsplit(row.url).hostname or row.url,
            Where.HTTP, _since(row), row.failure or "", row.failing_side or Side.SERVER, 2, None,
            _token_id(row), row.login,
        )
        for row in failing.order_by(WebService.name)
    ]  # fmt: skip


def _token_id(row: MailAccount | OutboundProfile | WebService) -> int | None:
    """Without reading the token."""
    found: int | None = row.__data__["token"]
    return found


def _since(row: MailAccount | OutboundProfile | WebService) -> datetime:
    assert row.failing_since is not None
    return row.failing_since


def not_fetched(resting: set[int], covered: set[str], now: datetime) -> list[Outage]:
    """Mailboxes that nobody has fetched for several of their intervals, and nothing says why."""
    usual, times = settings.fetch_interval(), settings.not_fetched_times()
    late = [row for row in _fetchable(now - _LATE) if _token_id(row) not in resting and row.name not in covered]
    late = [row for row in late if _is_late(row, usual, times, now)]
    if not late:
        return []
    text = f"“{late[0].name}” was" if len(late) == 1 else f"{len(late)} mailboxes were"
    return [
        Outage(
            "not fetched",
            f"{text} not fetched for {times} times the interval.",
            catalogue.named("not-fetched"),
            min(row.fetched_at or row.created_at for row in late),
            about=late[0] if len(late) == 1 else None,
            standing_still=[row.name for row in late],
        )
    ]


def _fetchable(before: datetime) -> list[MailAccount]:
    """Valid accounts that sign in by password or with a token in use, and that nobody has fetched since then."""
    rows = MailAccount.select(MailAccount).left_outer_join(Token).left_outer_join(TokenConfig)
    in_use = (TokenConfig.validity == Validity.VALID) & Token.obtained_at.is_null(False)
    ready = (MailAccount.validity == Validity.VALID) & (MailAccount.token.is_null() | in_use)
    unfetched = MailAccount.fetched_at.is_null() | (MailAccount.fetched_at < before)
    return list(rows.where(ready, unfetched, MailAccount.changed_at < before).order_by(MailAccount.name))


def _is_late(row: MailAccount, usual: timedelta, times: int, now: datetime) -> bool:
    """By its last good fetch; one with times of day by the moment that it waits for."""
    if row.fetch_times:
        return row.look_at is not None and now - row.look_at > _LATE
    own = row.fetch_interval
    interval = timedelta(seconds=own) if own else usual
    since = max(moment for moment in (row.fetched_at, row.changed_at) if moment)
    return now - since > max(times * interval, _LATE)
