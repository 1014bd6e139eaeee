"""Circuit breaker per provider host: outage, requested pause (Retry-After) and request limit, shared by its tokens.

While a host is down, a single token tests per pause whether the host responds again; all other tokens wait. A thousand
tokens thus send one request per pause, and no token is marked as failed.
"""

from datetime import datetime, timedelta

from peewee import fn

from portal import causes
from portal.causes import Where
from portal.core import retry_pauses
from portal.core.db import locked, transaction
from portal.core.errors import HostDown
from portal.models import ProviderHost, Token, TokenConfig, Validity
from portal.system import audit, settings

#: Time limit of a trial request before another token may try; longer than the longest HTTP request.
_TRIAL = timedelta(minutes=5)
#: Tolerated clock difference between hosts that share the database.
_CLOCKS_DIFFER = timedelta(minutes=2)


class CircuitOpen(HostDown):
    """No request was sent: the host is down and is not tried before ``until``."""

    def __init__(self, host: ProviderHost, now: datetime) -> None:
        self.until: datetime = host.not_before or now
        super().__init__(host.failure or "", retry_after=int((self.until - now).total_seconds()) + 1)


def check_available(name: str, *, by_user: bool, now: datetime) -> ProviderHost:
    """Return the host if requests to it are allowed now; raise CircuitOpen if not.

    A user's request skips the portal's own pause, but not one that the provider asked for.
    """
    host = ProviderHost.get_or_none(ProviderHost.name == name) or ProviderHost(name=name)
    if host.not_before is None or (by_user and not host.asked_to_wait):
        return host
    if _is_paused(host, now) or not _begin_trial(host, now):
        raise CircuitOpen(ProviderHost.get_by_id(host.id), now)
    return host


def _is_paused(host: ProviderHost, now: datetime) -> bool:
    """Whether a pause is active; ignored if its failure lies in the future, because the clock was set back since."""
    noted = host.failed_at is None or host.failed_at <= now + _CLOCKS_DIFFER
    return host.not_before is not None and host.not_before > now and noted


def _begin_trial(host: ProviderHost, now: datetime) -> bool:
    """Reserve the trial request for this caller; False when another caller has reserved it."""
    as_read = (ProviderHost.id == host.id) & (ProviderHost.not_before == host.not_before)
    # failed_at lets _is_paused ignore this pause if the worker dies and the clock is set back.
    return bool(ProviderHost.update(not_before=now + _TRIAL, failed_at=now).where(as_read).execute())


def has_room(name: str, now: datetime) -> bool:
    """Whether the host is within its limit of concurrent requests; the caller's own lease is counted."""
    under_way = Token.select(fn.COUNT(Token.id)).join(TokenConfig)
    held = under_way.where(Token.is_held(now), TokenConfig.host == name).scalar()
    return int(held) <= settings.provider_requests()


def record_failure(host: ProviderHost, error: HostDown, *, by_user: bool, now: datetime) -> datetime:
    """Record a failure of the host, postpone its due tokens, and return the end of the pause.

    ``host`` is as ``check_available`` returned it: the pause grows only after trial requests, not after requests that
    began before the outage was known.
    """
    with transaction():
        ProviderHost.insert(name=host.name).on_conflict_ignore().execute()
        row = locked(ProviderHost.select().where(ProviderHost.name == host.name)).get()
        if row.failing_since is None:
            audit.about(row, audit.WORKER, "unavailable", str(error), now)
        trying = row.failing_since is None or (host.failing_since is not None and not by_user)
        row.tries = row.tries + 1 if trying else max(row.tries, 1)
        row.failing_since, row.failed_at, row.failure = row.failing_since or now, now, str(error)
        row.failure_cause = causes.recognize(str(error), Where.PROVIDER).name
        until = retry_pauses.retry_at(now, row.tries, error.retry_after)
        if trying or row.not_before is None or (row.not_before < until and not by_user):
            row.asked_to_wait, row.not_before = error.retry_after is not None, until
        row.save()
        _put_off(row, now)
    closed_until: datetime = row.not_before
    return closed_until


def _put_off(host: ProviderHost, now: datetime) -> None:
    due = Token.is_due(now) & _of(host)
    # Versions stay unchanged: no worker holds these rows, and a worker that claims one now reads it again.
    Token.update(failing_since=now).where(due, Token.failing_since.is_null()).execute()
    failure = {"failed_at": now, "failure": host.failure, "failure_cause": host.failure_cause}
    Token.update({"due_at": host.not_before, **failure}).where(due).execute()


def _of(host: ProviderHost) -> object:
    return Token.token_config.in_(TokenConfig.select(TokenConfig.id).where(TokenConfig.host == host.name))


def record_success(host: ProviderHost, *, now: datetime) -> None:
    """Record that the host responded; if it was down, make its waiting tokens due now."""
    if host.failing_since is None:
        return
    cleared = {"failing_since": None, "not_before": None, "asked_to_wait": False, "tries": 0}
    with transaction():
        is_down = (ProviderHost.id == host.id) & ProviderHost.failing_since.is_null(False)
        if ProviderHost.update(cleared).where(is_down).execute() != 1:
            return
        waited = Token.failing_since.is_null(False) & Token.first_refused_at.is_null() & (Token.due_at > now)
        count = Token.update(due_at=now).where(waited, _of(host)).execute()
        audit.about(host, audit.WORKER, "available", f"tokens resumed: {count + 1}", now)


def record_clock_difference(host: ProviderHost, differs: int | None) -> None:
    """Store by how many seconds the host's clock is ahead of this server's; None: within the limit."""
    if host.clock_differs == differs or (differs is None and host.clock_differs is None):
        return
    ProviderHost.insert(name=host.name).on_conflict_ignore().execute()
    ProviderHost.update(clock_differs=differs).where(ProviderHost.name == host.name).execute()


def outages() -> list[ProviderHost]:
    """Return the hosts that are down and have waiting tokens, longest outage first."""
    waiting = (
        TokenConfig.select(TokenConfig.host)
        .join(Token)
        .where(TokenConfig.validity == Validity.VALID, Token.due_at.is_null(False))
    )
    failing = ProviderHost.select().where(ProviderHost.failing_since.is_null(False), ProviderHost.name.in_(waiting))
    return list(failing.order_by(ProviderHost.failing_since))
