"""Open problems grouped by cause, so that fourteen mailboxes with one cause take one line."""

from dataclasses import dataclass
from datetime import datetime

from portal import causes
from portal.core.language import _
from portal.core.severity import Severity
from portal.monitoring.problems import Problem

#: Severities of notices, the most severe first.
_ANNOUNCED = (Severity.CRITICAL, Severity.WARNING)


@dataclass(frozen=True)
class CauseGroup:
    """Problems with one cause and one severity; at least one."""

    problems: tuple[Problem, ...]

    @property
    def first(self) -> Problem:
        return self.problems[0]

    @property
    def cause(self) -> str:
        return self.first.cause.name

    @property
    def severity(self) -> Severity:
        return self.first.severity

    @property
    def text(self) -> str:
        """The problem in one sentence; of several problems, their cause and number."""
        if len(self.problems) == 1:
            return self.first.text
        return _("{title} ({count} notices)", title=self.first.cause.title, count=len(self.problems))

    @property
    def next_step(self) -> str:
        """The first step of the remedy; of several problems without the names of one."""
        return self.first.remedy[0] if len(self.problems) == 1 else self.first.cause.steps({})[0]

    @property
    def affected(self) -> list[str]:
        return [name for one in self.problems for name in one.affected]

    @property
    def since(self) -> datetime | None:
        return min((one.since for one in self.problems if one.since), default=None)


def grouped(found: list[Problem]) -> list[CauseGroup]:
    """Group the problems: critical groups first, then the larger ones, else in the given order."""
    together: dict[tuple[str, Severity], list[Problem]] = {}
    for one in found:
        # Unknown causes have nothing in common.
        name = one.key if one.cause.name == causes.UNKNOWN else one.cause.name
        together.setdefault((name, one.severity), []).append(one)
    groups = [CauseGroup(tuple(problems)) for problems in together.values()]
    return sorted(groups, key=lambda group: (group.severity is not Severity.CRITICAL, -len(group.problems)))


@dataclass(frozen=True)
class Banner:
    """The problems announced on every page."""

    problems: list[Problem]

    @property
    def groups(self) -> list[CauseGroup]:
        return grouped(self.problems)

    @property
    def counts(self) -> dict[Severity, int]:
        """The number of problems per severity, the most severe first, without zeros."""
        counts = {severity: sum(one.severity is severity for one in self.problems) for severity in _ANNOUNCED}
        return {severity: count for severity, count in counts.items() if count}
