"""What all tokens of one provider host share: its outage, the pause it asked for, and how many requests it takes.

While a host is down, one token at a time finds out whether it is back; all others wait with it. So a thousand tokens
cost a dead provider one request a pause, and neither a token nor a person is blamed.
"""

from datetime import datetime, timedelta

from peewee import fn

from portal.core import backoff
from portal.core.db import locked, transaction
from portal.core.errors import HostDown
from portal.models import ProviderHost, Token, TokenConfig, Validity
from portal.system import audit, settings

#: How long the one that tries may take before another tries; longer than the longest HTTP attempt.
_TRIAL = timedelta(minutes=5)
#: Machines that work together do not agree to the second on what time it is.
_CLOCKS_DIFFER = timedelta(minutes=2)


class Closed(HostDown):
    """Nobody was asked: the host is down, and it is tried again ``until`` then."""

    def __init__(self, host: ProviderHost, now: datetime) -> None:
        self.until: datetime = host.not_before or now
        super().__init__(host.failure or "", retry_after=int((self.until - now).total_seconds()) + 1)


def open_to(name: str, *, by_person: bool, now: datetime) -> ProviderHost:
    """The host, if it may be asked now; raises Closed when it may not.

    A person need not wait for a pause of our own making, only for one that the provider asked for.
    """
    host = ProviderHost.get_or_none(ProviderHost.name == name) or ProviderHost(name=name)
    if host.not_before is None or (by_person and not host.asked_to_wait):
        return host
    if _is_paused(host, now) or not _begin_trial(host, now):
        raise Closed(ProviderHost.get_by_id(host.id), now)
    return host


def _is_paused(host: ProviderHost, now: datetime) -> bool:
    """A failure in the future was noted before the machine's clock was put back: its pause means nothing."""
    noted = host.failed_at is None or host.failed_at <= now + _CLOCKS_DIFFER
    return host.not_before is not None and host.not_before > now and noted


def _begin_trial(host: ProviderHost, now: datetime) -> bool:
    """Whether this caller is the one that finds out if the host is back."""
    as_read = (ProviderHost.id == host.id) & (ProviderHost.not_before == host.not_before)
    # With the moment: should its worker die and the clock be put back, the pause is known to be from the future.
    return bool(ProviderHost.update(not_before=now + _TRIAL, failed_at=now).where(as_read).execute())


def has_room(name: str, now: datetime) -> bool:
    """Whether the host has no more requests under way than it may; those who ask hold their lease already."""
    under_way = Token.select(fn.COUNT(Token.id)).join(TokenConfig)
    held = under_way.where(Token.is_held(now), TokenConfig.host == name).scalar()
    return int(held) <= settings.provider_requests()


def failed(host: ProviderHost, error: HostDown, *, by_person: bool, now: datetime) -> datetime:
    """Close the host, put off what is due there, and return until when.

    ``host`` is the one that ``open_to`` gave: only a failure of who knew that it is down makes the next pause longer.
    """
    with transaction():
        ProviderHost.insert(name=host.name).on_conflict_ignore().execute()
        row = locked(ProviderHost.select().where(ProviderHost.name == host.name)).get()
        if row.failing_since is None:
            audit.about(row, audit.WORKER, "unavailable", str(error), now)
        trying = row.failing_since is None or (host.failing_since is not None and not by_person)
        row.tries = row.tries + 1 if trying else max(row.tries, 1)
        row.failing_since, row.failed_at, row.failure = row.failing_since or now, now, str(error)
        until = backoff.retry_at(now, row.tries, error.retry_after)
        if trying or row.not_before is None or (row.not_before < until and not by_person):
            row.asked_to_wait, row.not_before = error.retry_after is not None, until
        row.save()
        _put_off(row, now)
    closed_until: datetime = row.not_before
    return closed_until


def _put_off(host: ProviderHost, now: datetime) -> None:
    due = Token.is_due(now) & _of(host)
    # Versions stay: nobody holds these, and who claims one in this moment reads it anew.
    Token.update(failing_since=now).where(due, Token.failing_since.is_null()).execute()
    Token.update(look_at=host.not_before, failed_at=now, failure=host.failure).where(due).execute()


def _of(host: ProviderHost) -> object:
    return Token.token_config.in_(TokenConfig.select(TokenConfig.id).where(TokenConfig.host == host.name))


def answered(host: ProviderHost, *, now: datetime) -> None:
    """It answers. If it was down, everything that waited for it goes on at once."""
    if host.failing_since is None:
        return
    cleared = {"failing_since": None, "not_before": None, "asked_to_wait": False, "tries": 0}
    with transaction():
        is_down = (ProviderHost.id == host.id) & ProviderHost.failing_since.is_null(False)
        if ProviderHost.update(cleared).where(is_down).execute() != 1:
            return
        waited = Token.failing_since.is_null(False) & Token.doubted_at.is_null() & (Token.look_at > now)
        count = Token.update(look_at=now).where(waited, _of(host)).execute()
        audit.about(host, audit.WORKER, "available", f"{count + 1} tokens go on", now)


def tells_time(host: ProviderHost, differs: int | None) -> None:
    """Note by how many seconds its clock is ahead of ours; None: they agree."""
    if host.clock_differs == differs or (differs is None and host.clock_differs is None):
        return
    ProviderHost.insert(name=host.name).on_conflict_ignore().execute()
    ProviderHost.update(clock_differs=differs).where(ProviderHost.name == host.name).execute()


def outages() -> list[ProviderHost]:
    """The hosts that do not answer and that some token waits for, longest silent first."""
    waiting = (
        TokenConfig.select(TokenConfig.host)
        .join(Token)
        .where(TokenConfig.validity == Validity.VALID, Token.look_at.is_null(False))
    )
    failing = ProviderHost.select().where(ProviderHost.failing_since.is_null(False), ProviderHost.name.in_(waiting))
    return list(failing.order_by(ProviderHost.failing_since))
