"""The state of the portal's parts: database, clock, push listener, providers, Redis, workers."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from portal.core import token_state
from portal.core.language import _
from portal.core.severity import Severity
from portal.core.token_state import State
from portal.models import Heartbeat, MailAccount, Token, Validity
from portal.system import job_queue
from portal.tokens import circuit_breaker

CLOCK, PUSH = "clock", "push"
LISTENER = _("Push listener")
#: Name of the worker part of each queue.
WORKERS = {
    job_queue.TOKENS: _("Token workers"),
    job_queue.MAIL: _("Mail workers"),
    job_queue.OUT: _("Outbound workers"),
}
#: Clock and push listener send a heartbeat every few seconds; without one for this long they count as stopped.
_SILENT = timedelta(seconds=60)


@dataclass(frozen=True)
class Part:
    name: str
    state: State
    detail: str = ""


def parts(now: datetime) -> list[Part]:
    """Return all parts with their state. The database always answers here: the query itself needs it."""
    found = [Part(_("Database"), State("good", Severity.OK, _("answers"))), clock(now), *_listener(now), *_providers()]
    workers = job_queue.workers(now)
    if workers is None:
        gone = State(
            "broken", Severity.CRITICAL, _("does not answer"), remedy=_("Start the portal with: python -m portal run")
        )
        return [*found, Part(_("Redis"), gone, _("No data is lost: the clock enqueues due work again."))]
    found.append(Part(_("Redis"), State("good", Severity.OK, _("answers"))))
    return [*found, *(_workers(queue, names) for queue, names in workers.items())]


def silent(now: datetime) -> list[str]:
    """Return the required parts that are down. Providers and the push listener are not required for readiness."""
    return [part.name for part in parts(now) if part.state.severity is Severity.CRITICAL and part.name != LISTENER]


def _providers() -> list[Part]:
    """Return the providers that do not answer; the others have no row."""
    return [
        Part(
            _("Provider {name}", name=host.name),
            token_state.provider_host(host.failing_since, host.failure, host.not_before),
        )
        for host in circuit_breaker.outages()
    ]


def clock(now: datetime) -> Part:
    return _beating(_("Clock"), CLOCK, "clock", now)


def _listener(now: datetime) -> list[Part]:
    """Return the push listener, if a mail account uses push."""
    wanted = MailAccount.select().where(MailAccount.push).exists()
    if not wanted:
        return []
    part = _beating(LISTENER, PUSH, "push", now)
    asked = MailAccount.push & (MailAccount.validity == Validity.VALID)
    listening = MailAccount.select().where(asked, MailAccount.listening_since.is_null(False)).count()
    return [
        replace(part, detail=f"connected to {listening} of {MailAccount.select().where(asked).count()} mail accounts")
    ]


def _beating(title: str, name: str, command: str, now: datetime) -> Part:
    beat = Heartbeat.get_or_none(Heartbeat.name == name)
    remedy = _("Start it with: python -m portal {command}", command=command)
    if beat is None:
        return Part(title, State("broken", Severity.CRITICAL, _("no heartbeat yet"), remedy=remedy))
    if now - beat.at > _SILENT:
        return Part(title, State("broken", Severity.CRITICAL, _("no heartbeat since"), beat.at, remedy=remedy))
    return Part(title, State("good", Severity.OK, _("last heartbeat"), beat.at), beat.holder)


def _workers(queue: str, names: list[str]) -> Part:
    title = WORKERS.get(queue, f"Workers for {queue}")
    if not names:
        remedy = _("Start a worker: python -m portal worker")
        return Part(title, State("broken", Severity.CRITICAL, _("none running"), remedy=remedy))
    return Part(title, State("good", Severity.OK, _("{count} running", count=len(names))), ", ".join(sorted(names)))


def backlog(now: datetime) -> dict[str, int]:
    """Return the number of due rows that no worker has claimed, by kind of work."""
    return {
        _("tokens to refresh"): Token.select().where(Token.due_at <= now).count(),
        _("mail accounts to fetch"): MailAccount.select().where(MailAccount.due_at <= now).count(),
    }
