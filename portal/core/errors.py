"""What can go wrong, named once.

``str()`` of each error is the sentence that a person reads: on the page, on the command line, in the log. Two kinds
of failure come from outside: *refused* (a person must act) and *unavailable* (try later). Everything else that a job
raises is a bug.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class PortalError(Exception):
    """The root: an error whose text may be shown to the person who asked."""


class ConfigError(PortalError):
    """A process setting, key file or directory is unusable; the program must not start."""


class NotNow(ConfigError):
    """It cannot be used at this moment, and may be soon: the database does not answer."""


class NotFound(PortalError):
    """No row of that name or id."""


class InUse(PortalError):
    """The row cannot go: others depend on it."""


class Invalid(PortalError):
    """Input that breaks a rule: ``fields`` maps a field's name to what is wrong with it."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in fields.items()))
        self.fields = fields


@dataclass(frozen=True)
class Answer:
    """What the other side said when it failed, in its own words and never with a secret in it.

    ``error`` is the protocol's code (RFC 6749 section 5.2: ``invalid_grant``), ``codes`` the provider's numbers
    (``AADSTS70008``), ``trace`` the ids that its support asks for.
    """

    error: str = ""
    description: str = ""
    codes: str = ""
    trace: str = ""

    def __str__(self) -> str:
        head = f"{self.error} ({self.codes})" if self.codes else self.error
        return ": ".join(part for part in (head, self.description) if part)


class Side(StrEnum):
    """Which other side it was."""

    #: Mail server or web server: whoever was spoken to.
    SERVER = "server"
    PROVIDER = "provider"
    DESTINATION = "destination"


class OutsideError(PortalError):
    """A failure of the other side: provider, mail server or destination."""

    side = Side.SERVER

    def __init__(self, text: str, answer: Answer | None = None) -> None:
        # PostgreSQL cannot store a NUL, and these words are kept.
        text = text.replace("\0", "")
        super().__init__(text)
        self.answer = answer or Answer(description=text)


@contextmanager
def on(side: Side) -> Iterator[None]:
    """Whatever fails outside in here failed on this side."""
    try:
        yield
    except OutsideError as error:
        error.side = side
        raise


class Refused(OutsideError):
    """The other side said no, and will say it again: a person must act."""


class Unavailable(OutsideError):
    """The other side could not answer now: try later, keep everything.

    ``retry_after`` is the number of seconds it asked us to wait, None when it did not say.
    """

    def __init__(self, text: str, answer: Answer | None = None, retry_after: int | None = None) -> None:
        super().__init__(text, answer)
        self.retry_after = retry_after


class HostDown(Unavailable):
    """Unavailable for everybody who asks this host: no connection, no answer in time, or it asks all to slow down."""
