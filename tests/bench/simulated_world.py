"""Simulation of mailboxes with outages, with the portal running against them.

The network is simulated at the adapters; refreshes, fetches, retries and notices are the portal's real code.
Rows of mailboxes without a fault are updated in bulk, as successful runs would leave them.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from portal.core.encryption import Secret
from portal.core.errors import Answer, ExternalError, HostDown, Refused, Unavailable
from portal.incoming import fetch
from portal.incoming.fetch_session import FetchControl
from portal.models import Destination, Heartbeat, MailAccount, Token, TokenConfig, tuples
from portal.monitoring import notices, notifier
from portal.protocols.token_responses import TokenAnswer
from portal.system import job_queue, settings
from portal.tokens import refresh as refreshing
from portal.tokens import refresh_results
from tests.builders import NOW, make_account, make_config, make_destination

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: Temporary outages, and what each affects.
PASSING = {"provider down": "host", "provider 500": "token", "mail server down": "mail host", "refused for a moment": "account",
           "not connected": "account", "store down": "destination", "workers restart": "all", "redis restart": "all",
           "clock restart": "all", "token refused once": "token"}  # fmt: skip
#: Permanent failures that an administrator must fix, and what each affects.
DEATHS = {"token revoked": "token", "secret expired": "config", "mailbox closed": "account", "disk full": "destination"}


@dataclass
class Trouble:
    kind: str
    struck: Any
    begins: datetime
    ends: datetime

    def is_on(self, now: datetime) -> bool:
        return self.begins <= now < self.ends

    @property
    def is_death(self) -> bool:
        return self.kind in DEATHS

    @property
    def is_short(self) -> bool:
        return not self.is_death and self.ends - self.begins < 10 * MINUTE


@dataclass
class World:
    """The simulated servers and outages that the portal has to detect."""

    folder: Path
    random: random.Random
    now: datetime = NOW
    troubles: list[Trouble] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    accounts: list[MailAccount] = field(default_factory=list)

    def on(self, kind: str, struck: Any) -> bool:
        return any(one.kind == kind and one.struck == struck and one.is_on(self.now) for one in self.troubles)

    # The network ------------------------------------------------------------------------------------------------------

    def refresh(self, client: Any, url: str, *, refresh_token: Secret, scope: Any, now: datetime) -> TokenAnswer:
        host, number = urlsplit(url).netloc, int(refresh_token.reveal().split("-")[1])
        config = self.tokens[number].token_config.id
        if self.on("provider down", host):
            raise HostDown(f"{host} did not answer in time.")
        if self.on("provider 500", number):
            raise Unavailable(f"{host} answered HTTP 500 with an error.")
        if self.on("secret expired", config):
            raise _refused("invalid_client", "AADSTS7000222: The provided client secret keys are expired.")
        if self.on("token revoked", number) or self.on("token refused once", number):
            raise _refused("invalid_grant", "AADSTS50173: The provided grant has expired due to it being revoked.")
        return TokenAnswer(Secret(f"access-{number}"), None, now + HOUR, None, "mail", None)

    @contextmanager
    def mailbox(self, at: Any, credential: Any, folder: str) -> Iterator[Any]:
        number = int(credential.login.split("@")[0])
        if self.on("mail server down", at.host):
            raise Unavailable(f"{at.host} did not answer in time.")
        if self.on("refused for a moment", number) or self.on("token revoked", number):
            raise Refused(f"The mail server refused the sign-in of {credential.login}: AUTHENTICATE failed.")
        if self.on("not connected", number) or self.on("mailbox closed", number):
            raise Unavailable(f"{at.host} answered: select failed: User is authenticated but not connected.")
        yield _EmptyMailbox()

    def prepare(self, folder: Path) -> None:
        if self.on("disk full", folder.name):
            raise Unavailable(f"The Maildir {folder} cannot be written: No space left on device")
        if self.on("store down", folder.name):
            raise Unavailable("No connection to the mail store at store.test:24: Connection refused")

    def workers(self, now: datetime) -> dict[str, list[str]] | None:
        if self.on("redis restart", "all"):
            return None
        alive = [] if self.on("workers restart", "all") else ["a"]
        return {job_queue.TOKENS: alive, job_queue.MAIL: alive, job_queue.OUT: alive}

    @property
    def is_idle(self) -> bool:
        return any(self.on(kind, "all") for kind in ("redis restart", "workers restart", "clock restart"))

    # The portal -------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Run one minute of clock and workers."""
        if not self.on("clock restart", "all"):
            Heartbeat.beat("clock", self.now)
        if not self.is_idle:
            self._renew()
            self._fetch()
        notices.update(self.now)
        notifier.send_due(self.now)

    def _renew(self) -> None:
        due = Token.due(self.now, 10_000)
        quiet = {number for number in self._quiet_tokens() if number + 1 in set(due)}
        Token.update(
            obtained_at=self.now, refresh_token_used_at=self.now, expires_at=self.now + HOUR,
            due_at=self.now + 45 * MINUTE,
        ).where(Token.id.in_([number + 1 for number in quiet])).execute()  # fmt: skip
        for token_id in due:
            if token_id - 1 not in quiet:
                with suppress(ExternalError):
                    refreshing.refresh_if_due(token_id, now=self.now)

    def _quiet_tokens(self) -> set[int]:
        """Return the numbers of tokens without an outage or failure: their refresh would succeed."""
        struck = {(one.kind, one.struck) for one in self.troubles if one.is_on(self.now)}
        failing = {row_id - 1 for (row_id,) in tuples(Token.select(Token.id).where(Token.failing_since.is_null(False)))}
        return {
            number for number, token in enumerate(self.tokens)
            if number not in failing and not struck & {
                ("token revoked", number), ("token refused once", number), ("provider 500", number),
                ("secret expired", token.token_config.id), ("provider down", token.token_config.host),
            }
        }  # fmt: skip

    def _fetch(self) -> None:
        quiet = [number + 1 for number in self._quiet_accounts()]
        due = (MailAccount.due_at <= self.now) & MailAccount.id.in_(quiet)
        MailAccount.update(fetched_at=self.now, due_at=self.now + 5 * MINUTE).where(due).execute()
        for row_id in MailAccount.due(self.now, 10_000):
            fetch.fetch(row_id, FetchControl(clock=lambda: self.now))

    def _quiet_accounts(self) -> list[int]:
        struck = {(one.kind, one.struck) for one in self.troubles if one.is_on(self.now)}
        refused = Token.refused_at.is_null(False) | TokenConfig.credentials_refused_at.is_null(False)
        trouble = refused | Token.failing_since.is_null(False)
        resting = {row_id - 1 for (row_id,) in tuples(Token.select(Token.id).join(TokenConfig).where(trouble))}
        failing = MailAccount.select(MailAccount.id).where(MailAccount.failing_since.is_null(False))
        loud = resting | {row_id - 1 for (row_id,) in tuples(failing)}
        return [
            number for number, account in enumerate(self.accounts)
            if number not in loud and not struck & {
                ("mail server down", account.host), ("refused for a moment", number), ("not connected", number),
                ("mailbox closed", number), ("token revoked", number), ("disk full", f"store{number % 4}"),
                ("store down", f"store{number % 4}"),
            }
        ]  # fmt: skip

    def mend(self, one: Trouble) -> None:
        """Fix a permanent failure as an administrator would."""
        if one.kind == "token revoked":
            token = Token.get_by_id(one.struck + 1)
            token.refused_at = token.failing_since = token.failure = token.first_refused_at = None
            token.obtained_at, token.expires_at, token.due_at = self.now, self.now + HOUR, self.now + 45 * MINUTE
            token.overwrite()
            refresh_results.schedule_dependents(token, now=self.now)
        if one.kind == "secret expired":
            refresh_results.resume(TokenConfig.get_by_id(one.struck), now=self.now)


class _EmptyMailbox:
    generation, state, removes_at_end, secured_by, folders = "1", "", False, "TLSv1.3", None
    lists_all, delta_link, missing = True, "", ()

    def uids(self) -> list[str]:
        return []


def _refused(error: str, words: str) -> Refused:
    answer = Answer(error=error, description=words)
    return Refused(str(answer), answer)


def populate(world: World, mailboxes: int) -> None:
    """Create the rows; the same number identifies token, grant and account."""
    settings.change({"NoticeRecipients": "admins@sim.test"}, actor="test", now=NOW)
    configs = [make_config(f"Client {n}", base=f"https://login{n % 3}.test") for n in range(max(mailboxes // 25, 2))]
    inboxes = [make_destination(world.folder / f"store{n}", f"Store {n}") for n in range(4)]
    for n, inbox in enumerate(inboxes):
        Destination.update(path=str(world.folder / f"store{n}")).where(Destination.id == inbox.id).execute()
    Token.delete().execute()
    for number in range(mailboxes):
        token = _signed_in(world, number, configs[number % len(configs)])
        account = make_account(
            inboxes[number % 4], token, name=f"Mailbox {number:03}", host=f"mail{number % 5}.test",
            login=f"{number}@sim.test",
        )  # fmt: skip
        account.fetched_at, account.due_at = NOW, NOW + timedelta(seconds=world.random.randrange(300))
        account.overwrite()
        world.tokens.append(token)
        world.accounts.append(account)


def _signed_in(world: World, number: int, config: TokenConfig) -> Token:
    began = NOW - timedelta(seconds=world.random.randrange(2700))
    return Token.create(
        id=number + 1, token_config=config, owner=f"{number}@sim.test", signed_in_at=NOW - 30 * DAY, obtained_at=began,
        refresh_token=Secret(f"refresh-{number}"), access_token=Secret(f"access-{number}"),
        refresh_token_used_at=began, expires_at=began + HOUR, due_at=began + 45 * MINUTE,
    )  # fmt: skip
