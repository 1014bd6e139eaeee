"""Whether the parts of the portal are alive."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from portal.core import token_state
from portal.core.severity import Tone
from portal.core.token_state import State
from portal.models import Heartbeat, MailAccount, Token, Validity
from portal.system import job_queue
from portal.tokens import circuit_breaker

CLOCK, PUSH = "clock", "push"
LISTENER = "Listener"
#: Both give a sign of life every few seconds; after this it is silent.
_SILENT = timedelta(seconds=60)


@dataclass(frozen=True)
class Part:
    name: str
    state: State
    detail: str = ""


def parts(now: datetime) -> list[Part]:
    """Clock, Redis and workers, each with its state; the database answered, or this could not be told."""
    found = [Part("Database", State("good", Tone.GOOD, "answers")), clock(now), *_listener(now), *_providers()]
    workers = job_queue.workers(now)
    if workers is None:
        gone = State("broken", Tone.BROKEN, "does not answer", remedy="Start the portal with: python -m portal run")
        return [*found, Part("Redis", gone, "Nothing is lost: the clock enqueues again what is due.")]
    found.append(Part("Redis", State("good", Tone.GOOD, "answers")))
    return [*found, *(_workers(queue, names) for queue, names in workers.items())]


def silent(now: datetime) -> list[str]:
    """The parts that nothing goes without; a provider's outage, or one of push, is no reason to take the portal out."""
    return [part.name for part in parts(now) if part.state.tone is Tone.BROKEN and part.name != LISTENER]


def _providers() -> list[Part]:
    """Only those that do not answer: the others have no row."""
    return [
        Part(f"Provider {host.name}", token_state.provider_host(host.failing_since, host.failure, host.not_before))
        for host in circuit_breaker.outages()
    ]


def clock(now: datetime) -> Part:
    return _beating("Clock", CLOCK, "clock", now)


def _listener(now: datetime) -> list[Part]:
    """Only when somebody wants it."""
    wanted = MailAccount.select().where(MailAccount.push).exists()
    if not wanted:
        return []
    part = _beating(LISTENER, PUSH, "push", now)
    asked = MailAccount.push & (MailAccount.validity == Validity.VALID)
    listening = MailAccount.select().where(asked, MailAccount.listening_since.is_null(False)).count()
    return [
        replace(part, detail=f"listens to {listening} of {MailAccount.select().where(asked).count()} mail accounts")
    ]


def _beating(title: str, name: str, command: str, now: datetime) -> Part:
    beat = Heartbeat.get_or_none(Heartbeat.name == name)
    remedy = f"Start it: python -m portal {command}"
    if beat is None:
        return Part(title, State("broken", Tone.BROKEN, "has given no sign of life", remedy=remedy))
    if now - beat.at > _SILENT:
        return Part(title, State("broken", Tone.BROKEN, "silent since", beat.at, remedy=remedy))
    return Part(title, State("good", Tone.GOOD, "last sign of life", beat.at), beat.holder)


def _workers(queue: str, names: list[str]) -> Part:
    title = f"Workers for {queue}"
    if not names:
        return Part(title, State("broken", Tone.BROKEN, "none is alive", remedy="Start one: python -m portal worker"))
    return Part(title, State("good", Tone.GOOD, f"{len(names)} alive"), ", ".join(sorted(names)))


def backlog(now: datetime) -> dict[str, int]:
    """How many rows are due and not yet taken."""
    return {
        "tokens to renew": Token.select().where(Token.look_at <= now).count(),
        "mail accounts to fetch": MailAccount.select().where(MailAccount.look_at <= now).count(),
    }
