"""Runs diagnosis checks and records result, duration and cause of each; the first failed check ends the diagnosis."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal import causes
from portal.causes import Cause, Where, unmatched
from portal.core import errors
from portal.core.errors import InternalError, PortalError
from portal.core.severity import Severity
from portal.protocols.dialogue import Dialogue


@dataclass
class Step:
    """One check. ``found``: its result if passed; ``response``: the error or server response if failed."""

    name: str
    severity: Severity = Severity.OK
    seconds: float = 0.0
    found: str = ""
    response: str = ""
    cause: Cause | None = None
    remedy: list[str] = field(default_factory=list)


@dataclass
class Diagnosis:
    """The result of all checks; ``hints`` are remarks that are not faults."""

    kind: str
    name: str
    at: datetime
    steps: list[Step]
    dialogue: list[str]
    hints: list[str]

    @property
    def fault(self) -> Step | None:
        """Return the failed check; None: all checks passed."""
        return next((step for step in self.steps if step.severity is not Severity.OK), None)

    def as_facts(self) -> dict[str, Any]:
        """Return the diagnosis for JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "at": self.at,
            "good": self.fault is None,
            "cause": self.fault.cause.name if self.fault and self.fault.cause else None,
            "steps": [_facts(step) for step in self.steps],
            "hints": self.hints,
            "dialogue": self.dialogue,
        }

    def as_lines(self) -> list[str]:
        """Return the diagnosis as text lines, for the command line and tickets."""
        lines = [f"Diagnosis of the {self.kind} {self.name}, {self.at:%Y-%m-%d %H:%M:%S} UTC"]
        for step in self.steps:
            lines.append(
                f"{step.severity.value:<8} {step.seconds:6.2f} s  {step.name}{f': {step.found}' if step.found else ''}"
            )
            if step.cause:
                lines.append(f"         {step.cause.title}. {step.cause.meaning({})}")
                lines.append(f"         Server response: {step.response}")
                lines += [f"         {number}. {text}" for number, text in enumerate(step.remedy, 1)]
        lines += [f"Hint: {hint}" for hint in self.hints]
        return [*lines, *(["", "Protocol dialogue with secrets masked:"] if self.dialogue else []), *self.dialogue]


def _facts(step: Step) -> dict[str, Any]:
    return {
        "step": step.name,
        "result": step.severity.level,
        "seconds": round(step.seconds, 3),
        "found": step.found,
        "cause": step.cause.name if step.cause else None,
        "words": step.response,
        "remedy": step.remedy,
    }


class CheckFailed(PortalError):
    """A check failed: the remaining checks are not run."""


@dataclass
class Checks:
    """One run of checks; ``facts`` fill the placeholders of remedies."""

    now: datetime
    facts: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    dialogue: Dialogue = field(default_factory=Dialogue)
    hints: list[str] = field(default_factory=list)
    #: Sign-in by password: causes about tokens do not apply.
    by_password: bool = False

    @contextmanager
    def step(self, name: str, where: Where, response: str | None = None) -> Iterator[Step]:
        """Run one check. A PortalError or unexpected error fails it with its cause and raises CheckFailed.

        ``response``: the stored server response, if the error would only quote it.
        """
        step, began = Step(name), time.monotonic()
        self.steps.append(step)
        try:
            # The page must open whatever a server sends.
            with errors.guarded(f"Diagnosis, check {name}"):
                yield step
        except CheckFailed:
            raise
        except InternalError as error:
            self._fall(step, str(error), where)
            raise CheckFailed from error
        except PortalError as error:
            self._fall(step, response or str(error), where)
            raise CheckFailed from error
        finally:
            step.seconds = time.monotonic() - began
            step.found = self.dialogue.mask(step.found)

    def _fall(self, step: Step, response: str, where: Where) -> None:
        response = self.dialogue.mask(response)
        cause = step.cause or causes.recognize(response, where, by_password=self.by_password)
        step.cause, step.response = cause, response
        step.severity, step.remedy = cause.severity, cause.steps(self.facts)
        if cause.name == causes.UNKNOWN:
            unmatched.count(where, response, self.now)
