"""Health report for monitoring: open problems with their causes, state of the parts, figures."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.severity import Severity
from portal.monitoring import dashboard, health, notices
from portal.monitoring.dashboard import Tokens
from portal.monitoring.health import Part
from portal.monitoring.problems import Problem


@dataclass(frozen=True)
class HealthReport:
    """Health of the whole portal. ``problems``: most urgent first; acknowledged ones are last and do not count."""

    at: datetime
    problems: list[Problem]
    parts: list[Part]
    tokens: Tokens
    #: Number of valid mail accounts, and how many of these do not fail.
    mail_accounts: tuple[int, int]
    due: dict[str, int]
    #: What is retried after a failure, as words.
    retrying: list[str]

    @property
    def severity(self) -> Severity:
        """Return the highest severity of the problems that count and of the parts."""
        severities = {one.severity for one in self.problems if self.counts(one)}
        severities |= {Severity.CRITICAL} if self.silent else set()
        return next(
            (severity for severity in (Severity.CRITICAL, Severity.WARNING) if severity in severities), Severity.OK
        )

    def counts(self, problem: Problem) -> bool:
        """Whether a problem raises an alarm: not if it is acknowledged or shown in the portal only."""
        return problem.announced and not self.is_known(problem)

    def is_known(self, problem: Problem) -> bool:
        return problem.is_acknowledged(self.at)

    @property
    def silent(self) -> list[str]:
        return [
            part.name
            for part in self.parts
            if part.state.severity is Severity.CRITICAL and part.name != health.LISTENER
        ]

    def count(self, severity: Severity) -> int:
        return sum(one.severity is severity and self.counts(one) for one in self.problems)

    def as_facts(self) -> dict[str, Any]:
        """Return the report for JSON, as schema ``Health`` in the OpenAPI description."""
        accounts, well = self.mail_accounts
        return {
            "status": self.severity.level,
            "at": stamp(self.at),
            "problems": [_problem(one, self.is_known(one)) for one in self.problems],
            "parts": [
                {"name": part.name, "level": part.state.severity.level, "state": part.state.name} for part in self.parts
            ],
            "tokens": {"good": self.tokens.good, "troubled": self.tokens.troubled, "broken": self.tokens.broken},
            "mail_accounts": {"fetched": accounts, "failing": accounts - well},
            "due": self.due,
        }


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _problem(one: Problem, known: bool) -> dict[str, Any]:
    return {
        "level": one.severity.level,
        "id": one.notice.id if one.notice else None,
        "cause": one.cause.name,
        "who": one.cause.who,
        "text": one.text,
        "since": stamp(one.since) if one.since else None,
        "words": one.response,
        "standing_still": one.affected,
        "remedy": one.remedy,
        "known_until": stamp(one.notice.acknowledged_until)
        if known and one.notice and one.notice.acknowledged_until
        else None,
    }


def report(now: datetime) -> HealthReport:
    """Return the current health report, with the host checked now."""
    tokens = dashboard.tokens(now)
    return HealthReport(
        now,
        notices.open_problems_checked_now(now),
        health.parts(now)[1:],
        tokens,
        dashboard.mail_accounts(),
        health.backlog(now),
        dashboard.retrying(tokens),
    )
