"""A ladder of steps: each with the time it took, green, or with the catalogue's cause; after a red one it ends."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal import causes
from portal.causes import Cause, Where, unmatched
from portal.core.errors import PortalError
from portal.core.severity import Tone
from portal.protocols.dialogue import Dialogue

logger = logging.getLogger(__name__)


@dataclass
class Step:
    """``found`` is what a good step has to tell, ``words`` the other side's own when it is not good."""

    name: str
    tone: Tone = Tone.GOOD
    seconds: float = 0.0
    found: str = ""
    words: str = ""
    cause: Cause | None = None
    remedy: list[str] = field(default_factory=list)


@dataclass
class Diagnosis:
    """What came of it; ``hints`` are worth knowing and no fault."""

    kind: str
    name: str
    at: datetime
    steps: list[Step]
    dialogue: list[str]
    hints: list[str]

    @property
    def fault(self) -> Step | None:
        """The step at which it ended; None: all is well."""
        return next((step for step in self.steps if step.tone is not Tone.GOOD), None)

    def as_facts(self) -> dict[str, Any]:
        """For programs."""
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
        """For people, and to be pasted into a ticket."""
        lines = [f"Diagnosis of the {self.kind} {self.name}, {self.at:%Y-%m-%d %H:%M:%S} UTC"]
        for step in self.steps:
            lines.append(
                f"{step.tone.value:<8} {step.seconds:6.2f} s  {step.name}{f': {step.found}' if step.found else ''}"
            )
            if step.cause:
                lines += [f"         {step.cause.title}. {step.cause.meaning({})}", f"         They say: {step.words}"]
                lines += [f"         {number}. {text}" for number, text in enumerate(step.remedy, 1)]
        lines += [f"Hint: {hint}" for hint in self.hints]
        return [*lines, *(["", "What was said, every secret masked:"] if self.dialogue else []), *self.dialogue]


def _facts(step: Step) -> dict[str, Any]:
    return {
        "step": step.name,
        "result": step.tone.value,
        "seconds": round(step.seconds, 3),
        "found": step.found,
        "cause": step.cause.name if step.cause else None,
        "words": step.words,
        "remedy": step.remedy,
    }


class Fallen(Exception):
    """A step was red: there is no way further up."""


@dataclass
class Ladder:
    """Climbed step by step; ``facts`` fill the places in remedies."""

    now: datetime
    facts: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    dialogue: Dialogue = field(default_factory=Dialogue)
    hints: list[str] = field(default_factory=list)
    #: Whether whoever is diagnosed signs in by password: what is about tokens is not its cause.
    by_password: bool = False

    @contextmanager
    def step(self, name: str, where: Where, words: str | None = None) -> Iterator[Step]:
        """One step up. Whatever fails outside makes it red, with its cause, and ends the climb by Fallen.

        ``words``: what is known of the fault already, where the error only repeats it.
        """
        step, began = Step(name), time.monotonic()
        self.steps.append(step)
        try:
            yield step
        except PortalError as error:
            self._fall(step, words or str(error), where)
            raise Fallen from error
        except Fallen:
            raise
        except Exception as error:
            # The top of what a person asked for: whatever a server can think of, this page opens.
            logger.exception("Diagnosis failed at %s", name)
            self._fall(step, "The portal failed inside; its log has the details.", where)
            raise Fallen from error
        finally:
            step.seconds = time.monotonic() - began
            step.found = self.dialogue.words(step.found)

    def _fall(self, step: Step, words: str, where: Where) -> None:
        words = self.dialogue.words(words)
        cause = step.cause or causes.recognise(words, where, by_password=self.by_password)
        step.cause, step.words = cause, words
        step.tone, step.remedy = cause.tone, cause.steps(self.facts)
        if cause.name == causes.UNKNOWN:
            unmatched.note(where, words, self.now)
