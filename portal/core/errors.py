"""The exceptions of the portal.

``str()`` of each error is the sentence for display on pages, on the command line and in the log. External failures
are either *refused* (an administrator must act) or *unavailable* (try later). Any other exception is a bug;
``guarded()`` turns it into an InternalError where one row of many must not stop the others.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from portal.core.language import _, joined

logger = logging.getLogger(__name__)
#: What a user reads when a bug stopped the work; the log has the traceback.
INTERNAL_ERROR = _("Internal error in the portal. The portal's log has the details.")


class PortalError(Exception):
    """The base class: an error whose text may be shown to the user."""


class ConfigError(PortalError):
    """A process setting, key file or directory is unusable. The program must not start."""


class TemporaryConfigError(ConfigError):
    """A temporary ConfigError, for example when the database does not answer."""


class NotFound(PortalError):
    """No row has the requested name or ID."""


class InUse(PortalError):
    """The row cannot be deleted, because other rows depend on it."""


class Invalid(PortalError):
    """Invalid input: ``fields`` maps the name of each invalid field to its error message."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(joined([joined([name, problem], ": ") for name, problem in fields.items()], "; "))
        self.fields = fields


@dataclass(frozen=True)
class Answer:
    """The error response of a server, provider or destination, without secrets.

    ``error`` is the protocol's error code (RFC 6749 section 5.2: ``invalid_grant``), ``codes`` the provider's error
    numbers (``AADSTS70008``), ``trace`` the IDs that the provider's support asks for.
    """

    error: str = ""
    description: str = ""
    codes: str = ""
    trace: str = ""

    def __str__(self) -> str:
        head = f"{self.error} ({self.codes})" if self.codes else self.error
        return ": ".join(part for part in (head, self.description) if part)


class Side(StrEnum):
    """The system that failed."""

    #: Mail server or web server.
    SERVER = "server"
    PROVIDER = "provider"
    DESTINATION = "destination"


class ExternalError(PortalError):
    """A failure of a provider, server or destination."""

    side = Side.SERVER

    def __init__(self, text: str, answer: Answer | None = None) -> None:
        # The text is stored, and PostgreSQL cannot store a NUL.
        if "\0" in text:
            text = text.replace("\0", "")
        super().__init__(text)
        self.answer = answer or Answer(description=text)


@contextmanager
def on(side: Side) -> Iterator[None]:
    """Set ``side`` on every ExternalError raised in the block."""
    try:
        yield
    except ExternalError as error:
        error.side = side
        raise


class Refused(ExternalError):
    """Permanent rejection by the server: an administrator must act."""


class Unavailable(ExternalError):
    """Temporary failure of the server: try later and change nothing.

    ``retry_after`` is the number of seconds that the server asked to wait; None: not given.
    """

    def __init__(self, text: str, answer: Answer | None = None, retry_after: int | None = None) -> None:
        super().__init__(text, answer)
        self.retry_after = retry_after


class HostDown(Unavailable):
    """The whole host is unavailable: no connection, a timeout, or a rate limit for all clients."""


class InternalError(Unavailable):
    """A bug of the portal: temporary for the row at work, which is tried again later."""

    def __init__(self) -> None:
        super().__init__(INTERNAL_ERROR)


@contextmanager
def guarded(work: str) -> Iterator[None]:
    """Log an exception that is no PortalError, and raise InternalError instead. ``work`` names the work in the log."""
    try:
        yield
    except PortalError:
        raise
    except Exception as error:
        logger.exception("%s: internal error", work)
        raise InternalError from error
