"""Rate limit on wrong passwords and API keys, counted in the database for all processes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.db import transaction
from portal.core.errors import PortalError
from portal.core.language import Text, _
from portal.models import LoginFailures

_WINDOW = timedelta(minutes=15)


class RateLimited(PortalError):
    """The rate limit is exceeded. ``seconds``: time until the next attempt is allowed."""

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(
            _("Too many wrong {what}. Try again in {minutes} minutes.", what=Text(what), minutes=seconds // 60 + 1)
        )
        self.seconds = seconds


@dataclass(frozen=True)
class Subject:
    """A name or address whose failures are counted, and the limit of failures within 15 minutes."""

    name: str
    most: int

    @property
    def hashed(self) -> str:
        """The hash of the name. The name is not stored, because a user may have typed a password into its field."""
        return hashlib.sha256(self.name.encode()).hexdigest()


def check_limit(subjects: Iterable[Subject], what: str, *, now: datetime) -> None:
    """Raise RateLimited when a subject has reached its limit."""
    for subject in subjects:
        still = LoginFailures.window_ends_at > now
        row = LoginFailures.get_or_none(LoginFailures.subject == subject.hashed, still)
        if row and row.count >= subject.most:
            raise RateLimited(what, int((row.window_ends_at - now).total_seconds()))


def record_failure(subjects: Iterable[Subject], *, now: datetime) -> None:
    """Count one failure for each subject."""
    with transaction():
        LoginFailures.delete().where(LoginFailures.window_ends_at <= now).execute()
        for subject in subjects:
            LoginFailures.insert(subject=subject.hashed, count=1, window_ends_at=now + _WINDOW).on_conflict(
                conflict_target=[LoginFailures.subject], update={LoginFailures.count: LoginFailures.count + 1}
            ).execute()


def reset(subject: Subject) -> None:
    LoginFailures.delete().where(LoginFailures.subject == subject.hashed).execute()
