"""Environment of the fault tests: cause a real fault, run the portal's work, check the reported cause."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from portal import causes
from portal.core.clock import RunControl
from portal.core.errors import ExternalError
from portal.core.severity import Severity
from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import FetchControl
from portal.models import MailAccount, Notice, OutboundProfile, Row, Token, TokenConfig
from portal.monitoring import notices, problems
from portal.outgoing import send as sending
from portal.tokens import refresh
from tests.builders import make_message, make_token
from tests.fakes.pages import PageClient
from tests.support.commands import Run

MINUTE = timedelta(minutes=1)
#: Name of each kind in URLs and on the command line.
_WORDS = {"token": "token", "token configuration": "token-config", "mail account": "mail-account",
          "outbound profile": "outbound", "web service": "web-service", "destination": "destination"}  # fmt: skip


@dataclass
class Stage:
    """``began``: start of the fault; the portal's work is run at 0, 6 and 12 minutes after it."""

    run: Run
    alice: PageClient
    began: datetime
    folder: Path
    certificates: Path

    def token(self, config: TokenConfig, **facts: Any) -> Token:
        return make_token(config, **{"signed_in_at": self.began - 50 * MINUTE, "life": timedelta(days=1), **facts})

    def renew(self, token: Token) -> None:
        """Refresh the token like the clock: at the start, when a rejection is confirmed, and once more."""
        for minutes in (0, 6, 12):
            now = self.began + minutes * MINUTE
            Token.update(due_at=now).where(Token.id == token.id, Token.refused_at.is_null()).execute()
            with suppress(ExternalError):
                refresh.refresh_if_due(token.id, now=now)

    def fetch(self, account: MailAccount) -> None:
        for minutes in (0, 6, 12):
            now = self.began + minutes * MINUTE
            MailAccount.update(due_at=now).where(MailAccount.id == account.id).execute()
            fetching.fetch(account.id, FetchControl(clock=lambda now=now: now))  # type: ignore[misc]

    def send(self, profile: OutboundProfile) -> None:
        make_message(profile, at=self.began)
        for minutes in (0, 6, 12):
            now = self.began + minutes * MINUTE
            OutboundProfile.update(due_at=None).execute()
            with suppress(ExternalError):
                sending.send(profile.id, RunControl(clock=lambda now=now: now))  # type: ignore[misc]

    def is_named(self, row: Row, cause: str, *, in_notice: str | None = None, reference: str = "") -> None:
        """Check cause, severity and remedy in the notice, on the page and on the command line."""
        expected = causes.named(cause)
        assert expected.name == cause, f"the catalogue has no {cause}"
        self.is_noticed(in_notice or cause)
        kind, name = _WORDS[row.kind], reference or str(row.name)  # type: ignore[attr-defined]
        page = self.alice.submit(f"/diagnosis/{kind}/{row.id}", {}).text
        assert f"{expected.title}." in page, page[page.find("Diagnosis of") :]
        assert _beginning(expected.remedy[0]) in page
        found = json.loads(self.run(kind, "diagnose", name, "--json", code=1).stdout)
        fault = next(step for step in found["steps"] if step["result"] != "good")
        assert (found["cause"], fault["result"]) == (cause, expected.severity.level)
        assert fault["remedy"][0].startswith(_beginning(expected.remedy[0]))
        assert fault["words"]

    def is_noticed(self, cause: str) -> None:
        """Check that there is exactly one notice, with the cause's severity and remedy."""
        expected = causes.named(cause)
        for minutes in range(0, 25, 2):
            problems.record_heartbeats(self.began + minutes * MINUTE)
        notices.update(self.began + 25 * MINUTE)
        found = [(row.cause, row.severity, row.text, row.response) for row in Notice.select()]
        assert [(*one[:2],) for one in found] == [(cause, expected.severity)], found
        row = Notice.get()
        assert row.remedy.startswith(_beginning(expected.remedy[0]))
        assert row.severity is Severity.CRITICAL or not expected.temporary or row.severity is Severity.WARNING


def _beginning(step: str) -> str:
    """Return the text up to the first placeholder or command."""
    return step.partition("{")[0].partition("`")[0].strip()


def now() -> datetime:
    return datetime.now(UTC)


#: Causes the fault and runs the portal's work; returns the affected row.
Arrange = Callable[[Stage], Row]
