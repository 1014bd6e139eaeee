"""How it stands with everything, for monitoring: what is broken, why, and in numbers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.severity import Tone
from portal.monitoring import dashboard, health, notices
from portal.monitoring.dashboard import Tokens
from portal.monitoring.health import Part
from portal.monitoring.notices import Banner


@dataclass(frozen=True)
class CheckUp:
    """``problems`` are most urgent first; what somebody has acknowledged is last, and does not count."""

    at: datetime
    problems: list[Banner]
    parts: list[Part]
    tokens: Tokens
    #: How many are fetched, and how many of these do not fail.
    mail_accounts: tuple[int, int]
    due: dict[str, int]

    @property
    def tone(self) -> Tone:
        """The worst that counts."""
        tones = {one.tone for one in self.problems if self.counts(one)}
        tones |= {Tone.BROKEN} if self.silent else set()
        return next((tone for tone in (Tone.BROKEN, Tone.WARNING) if tone in tones), Tone.GOOD)

    def counts(self, problem: Banner) -> bool:
        """What is only to be seen in the portal, or somebody knows of, is no reason for an alarm."""
        return problem.announced and not self.is_known(problem)

    def is_known(self, problem: Banner) -> bool:
        return problem.notice is not None and problem.notice.is_known(self.at)

    @property
    def silent(self) -> list[str]:
        return [part.name for part in self.parts if part.state.tone is Tone.BROKEN and part.name != health.LISTENER]

    def count(self, tone: Tone) -> int:
        return sum(one.tone is tone and self.counts(one) for one in self.problems)

    def as_facts(self) -> dict[str, Any]:
        """For programs; the schema ``Health`` of the API's description."""
        accounts, well = self.mail_accounts
        return {
            "status": self.tone.value,
            "at": stamp(self.at),
            "problems": [_problem(one, self.is_known(one)) for one in self.problems],
            "parts": [
                {"name": part.name, "level": part.state.tone.value, "state": part.state.name} for part in self.parts
            ],
            "tokens": {"good": self.tokens.good, "troubled": self.tokens.troubled, "broken": self.tokens.broken},
            "mail_accounts": {"fetched": accounts, "failing": accounts - well},
            "due": self.due,
        }


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _problem(one: Banner, known: bool) -> dict[str, Any]:
    return {
        "level": one.tone.value,
        "id": one.notice.id if one.notice else None,
        "cause": one.cause.name,
        "who": one.cause.who,
        "text": one.text,
        "since": stamp(one.since) if one.since else None,
        "words": one.words,
        "standing_still": one.standing_still,
        "remedy": one.remedy,
        "known_until": stamp(one.notice.known_until) if known and one.notice and one.notice.known_until else None,
    }


def look(now: datetime) -> CheckUp:
    """Everything, the machine included, as it is at this moment."""
    return CheckUp(
        now,
        notices.looked_at(now),
        health.parts(now)[1:],
        dashboard.tokens(now),
        dashboard.mail_accounts(),
        health.backlog(now),
    )
