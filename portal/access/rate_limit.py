"""The throttle on guessing: wrong passwords and keys are counted in the database, for all processes alike."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.db import transaction
from portal.core.errors import PortalError
from portal.models import LoginFailures

_WINDOW = timedelta(minutes=15)


class Throttled(PortalError):
    """Too many wrong ones; ``seconds`` until the next may be tried."""

    def __init__(self, what: str, seconds: int) -> None:
        super().__init__(f"Too many wrong {what}. Try again in {seconds // 60 + 1} minutes.")
        self.seconds = seconds


@dataclass(frozen=True)
class Subject:
    """What wrong ones are counted for, and how many are borne within fifteen minutes."""

    name: str
    most: int

    @property
    def hashed(self) -> str:
        """What was typed as a name may be a password: it is not stored."""
        return hashlib.sha256(self.name.encode()).hexdigest()


def stop_if_throttled(subjects: Iterable[Subject], what: str, *, now: datetime) -> None:
    """Throttled when one of them has had too many."""
    for subject in subjects:
        still = LoginFailures.window_ends_at > now
        row = LoginFailures.get_or_none(LoginFailures.subject == subject.hashed, still)
        if row and row.count >= subject.most:
            raise Throttled(what, int((row.window_ends_at - now).total_seconds()))


def count(subjects: Iterable[Subject], *, now: datetime) -> None:
    """One more wrong one for each."""
    with transaction():
        LoginFailures.delete().where(LoginFailures.window_ends_at <= now).execute()
        for subject in subjects:
            LoginFailures.insert(subject=subject.hashed, count=1, window_ends_at=now + _WINDOW).on_conflict(
                conflict_target=[LoginFailures.subject], update={LoginFailures.count: LoginFailures.count + 1}
            ).execute()


def forget(subject: Subject) -> None:
    LoginFailures.delete().where(LoginFailures.subject == subject.hashed).execute()
