"""Thirty simulated days: which notices there are when hundreds of mailboxes meet outages of every kind, and deaths.

The wire is simulated, at the adapters; everything above it is the portal's own: renewals, fetches, retries, notices.
Mailboxes that nothing is wrong with are moved on in bulk, as good runs would have left them.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from portal import disks, fetching, jobs, notices, outcomes, refreshing, settings, telling
from portal.adapters import imap, maildir, oauth2
from portal.adapters.oauth2 import TokenAnswer
from portal.errors import Answer, HostDown, OutsideError, Refused, Unavailable
from portal.models import Destination, Heartbeat, MailAccount, Notice, Token, TokenConfig, tuples
from portal.run_keeping import Watch
from portal.sealing import Secret
from portal.tone import Tone
from tests.builders import NOW, make_account, make_config, make_destination

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: Kinds of trouble that pass by themselves, and what they strike.
PASSING = {"provider down": "host", "provider 500": "token", "mail server down": "mail host", "refused for a moment": "account",
           "not connected": "account", "store down": "destination", "workers restart": "all", "redis restart": "all",
           "clock restart": "all", "token refused once": "token"}  # fmt: skip
#: Deaths that only a person mends.
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
class Report:
    days: float
    mailboxes: int
    short: int = 0
    long: int = 0
    deaths: int = 0
    missed: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    #: From a death to its notice, and from the moment at which the portal could first see it.
    waits: list[timedelta] = field(default_factory=list)
    opened: int = 0
    mails: int = 0
    left_open: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        waits = sorted(self.waits)
        longest = waits[-1] if waits else timedelta()
        middle = timedelta(seconds=median(wait.total_seconds() for wait in waits)) if waits else timedelta()
        return (
            f"{self.days:g} days, {self.mailboxes} mailboxes: {self.short} short outages, {self.long} long ones, "
            f"{self.deaths} deaths; {self.opened} notices, {self.mails} mails; {len(self.false_alarms)} false alarms, "
            f"{len(self.missed)} deaths missed; from death to notice {middle} in the middle, {longest} at most"
        )


@dataclass
class World:
    """What is true; the portal finds out."""

    folder: Path
    random: random.Random
    now: datetime = NOW
    troubles: list[Trouble] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    accounts: list[MailAccount] = field(default_factory=list)
    hosts: dict[int, str] = field(default_factory=dict)

    def on(self, kind: str, struck: Any) -> bool:
        return any(one.kind == kind and one.struck == struck and one.is_on(self.now) for one in self.troubles)

    # The wire ---------------------------------------------------------------------------------------------------------

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
            raise Unavailable(f"The Maildir {folder} did not take the message: No space left on device")
        if self.on("store down", folder.name):
            raise Unavailable("No connection to the mail store at store.test:24: Connection refused")

    def workers(self, now: datetime) -> dict[str, list[str]] | None:
        if self.on("redis restart", "all"):
            return None
        alive = [] if self.on("workers restart", "all") else ["a"]
        return {jobs.TOKENS: alive, jobs.MAIL: alive, jobs.OUT: alive}

    @property
    def is_idle(self) -> bool:
        return any(self.on(kind, "all") for kind in ("redis restart", "workers restart", "clock restart"))

    # The portal -------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """One minute of clock and workers."""
        if not self.on("clock restart", "all"):
            Heartbeat.insert(name="clock", holder="sim", at=self.now).on_conflict(
                conflict_target=[Heartbeat.name], update={Heartbeat.at: self.now}
            ).execute()
        if not self.is_idle:
            self._renew()
            self._fetch()
        notices.keep(self.now)
        telling.tell(self.now)

    def _renew(self) -> None:
        due = Token.due(self.now, 10_000)
        quiet = {number for number in self._quiet_tokens() if number + 1 in set(due)}
        Token.update(
            obtained_at=self.now, refresh_token_used_at=self.now, expires_at=self.now + HOUR,
            look_at=self.now + 45 * MINUTE,
        ).where(Token.id.in_([number + 1 for number in quiet])).execute()  # fmt: skip
        for token_id in due:
            if token_id - 1 not in quiet:
                with suppress(OutsideError):
                    refreshing.renew_if_due(token_id, now=self.now)

    def _quiet_tokens(self) -> set[int]:
        """Those whose renewal would go well, and that nothing hangs on."""
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
        due = (MailAccount.look_at <= self.now) & MailAccount.id.in_(quiet)
        MailAccount.update(fetched_at=self.now, look_at=self.now + 5 * MINUTE).where(due).execute()
        for row_id in MailAccount.due(self.now, 10_000):
            fetching.fetch(row_id, Watch(clock=lambda: self.now))

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
        """What a person does in the end."""
        if one.kind == "token revoked":
            token = Token.get_by_id(one.struck + 1)
            token.refused_at = token.failing_since = token.failure = token.doubted_at = None
            token.obtained_at, token.expires_at, token.look_at = self.now, self.now + HOUR, self.now + 45 * MINUTE
            token.overwrite()
            outcomes.wake_dependants(token, now=self.now)
        if one.kind == "secret expired":
            outcomes.resume(TokenConfig.get_by_id(one.struck), now=self.now)


class _EmptyMailbox:
    generation, removes_at_end, secured_by = "1", False, "TLSv1.3"

    def uids(self) -> list[str]:
        return []


def _refused(error: str, words: str) -> Refused:
    answer = Answer(error=error, description=words)
    return Refused(str(answer), answer)


def simulate(folder: Path, *, days: float, mailboxes: int, density: float = 1.0, seed: int = 1) -> Report:
    """``folder`` takes the destinations; the database is bound and empty. ``density``: of troubles, beside the usual."""
    world = World(folder, random.Random(seed))
    _populate(world, mailboxes)
    _plan(world, days, density)
    report = Report(days, mailboxes)
    report.short = sum(one.is_short for one in world.troubles)
    report.deaths = sum(one.is_death for one in world.troubles)
    report.long = len(world.troubles) - report.short - report.deaths
    with _simulated(world, report):
        for _ in range(int(days * 24 * 60)):
            world.now += MINUTE
            for one in world.troubles:
                if one.is_death and one.ends <= world.now < one.ends + MINUTE:
                    world.mend(one)
            world.work()
    _judge(world, report)
    return report


@contextmanager
def _simulated(world: World, report: Report) -> Iterator[None]:
    def hand_over(*arguments: Any) -> None:
        report.mails += 1

    with ExitStack() as wire:
        for where, name, fake in (
            (oauth2, "refresh", world.refresh), (imap, "mailbox", world.mailbox), (maildir, "prepare", world.prepare),
            (jobs, "workers", world.workers), (disks, "of", lambda folders: []), (telling, "_hand_over", hand_over),
        ):  # fmt: skip
            wire.enter_context(patch.object(where, name, fake))
        yield


def _populate(world: World, mailboxes: int) -> None:
    settings.change({"NoticeRecipients": "admins@sim.test"}, actor="test", now=NOW)
    configs = [make_config(f"Client {n}", base=f"https://login{n % 3}.test") for n in range(max(mailboxes // 25, 2))]
    inboxes = [make_destination(world.folder / f"store{n}", f"Store {n}") for n in range(4)]
    for n, inbox in enumerate(inboxes):
        Destination.update(path=str(world.folder / f"store{n}")).where(Destination.id == inbox.id).execute()
    for number in range(mailboxes):
        config = configs[number % len(configs)]
        token = Token.get_or_none(Token.token_config == config.id, Token.obtained_at.is_null())
        if token is None:
            token = Token.create(token_config=config)
        began = NOW - world.random.randrange(2700) * timedelta(seconds=1)
        token.owner, token.signed_in_at, token.obtained_at = f"{number}@sim.test", NOW - 30 * DAY, began
        token.refresh_token, token.access_token = Secret(f"refresh-{number}"), Secret(f"access-{number}")
        token.refresh_token_used_at, token.expires_at, token.look_at = began, began + HOUR, began + 45 * MINUTE
        token.save()
    # Tokens by their ids, so that a number names token, account and grant alike.
    for number, token in enumerate(Token.select().order_by(Token.id)):
        token.refresh_token, token.owner = Secret(f"refresh-{number}"), f"{number}@sim.test"
        token.save()
        world.tokens.append(token)
        account = make_account(
            Destination.get_by_id(1 + number % 4), token, name=f"Mailbox {number:03}", host=f"mail{number % 5}.test",
            login=f"{number}@sim.test",
        )  # fmt: skip
        MailAccount.update(fetched_at=NOW, look_at=NOW + world.random.randrange(300) * timedelta(seconds=1)).where(
            MailAccount.id == account.id
        ).execute()
        world.accounts.append(MailAccount.get_by_id(account.id))


def _plan(world: World, days: float, density: float) -> None:
    """So many troubles a day: short ones, long ones, and deaths; those of one thing do not overlap."""
    dice, end = world.random, NOW + days * DAY
    wanted = [("death", 1.5), ("long", 1.5), ("short", 12)]
    for what, per_day in wanted:
        for _ in range(int(per_day * days * density)):
            kind = dice.choice(list(DEATHS if what == "death" else PASSING))
            lasts = dice.uniform(1, 9) if what == "short" else dice.uniform(25, 240)
            if what == "death":
                lasts = dice.uniform(180, 900)
            if kind == "token refused once":
                # A refusal that is there a minute later is believed: that is the portal's rule.
                lasts = 1.0
            begins = NOW + timedelta(minutes=dice.uniform(30, max(days * 1440 - lasts - 90, 31)))
            begins = begins.replace(second=0, microsecond=0)
            one = Trouble(kind, _struck(world, kind), begins, begins + timedelta(minutes=int(lasts) or 1))
            if one.ends < end and not any(_near(world, one, other) for other in world.troubles):
                world.troubles.append(one)


def _struck(world: World, kind: str) -> Any:
    dice, of = world.random, (PASSING | DEATHS)[kind]
    if of in ("token", "account"):
        return dice.randrange(len(world.tokens))
    if of == "host":
        return f"login{dice.randrange(3)}.test"
    if of == "mail host":
        return f"mail{dice.randrange(5)}.test"
    if of == "config":
        return dice.choice(world.tokens).token_config.id
    return f"store{dice.randrange(4)}" if of == "destination" else "all"


def _near(world: World, one: Trouble, other: Trouble) -> bool:
    """One after the other that strike the same mailbox would be one longer trouble."""
    apart = 90 * MINUTE
    together = one.begins < other.ends + apart and other.begins < one.ends + apart
    return together and bool(_mailboxes(world, one) & _mailboxes(world, other))


def _mailboxes(world: World, one: Trouble) -> set[int]:
    """Those that a trouble strikes."""
    of, everyone = (PASSING | DEATHS)[one.kind], range(len(world.tokens))
    return {
        "token": {one.struck}, "account": {one.struck}, "all": set(everyone),
        "host": {n for n in everyone if world.tokens[n].token_config.host == one.struck},
        "mail host": {n for n in everyone if f"mail{n % 5}.test" == one.struck},
        "config": {n for n in everyone if world.tokens[n].token_config.id == one.struck},
        "destination": {n for n in everyone if f"store{n % 4}" == one.struck},
    }[of]  # fmt: skip


def _judge(world: World, report: Report) -> None:
    rows = list(Notice.select().order_by(Notice.opened_at))
    report.opened = len(rows)
    for row in rows:
        if not _has_reason(world, row):
            report.false_alarms.append(f"{row.opened_at:%d. %H:%M} {row.tone.value} {row.text} {row.words}")
    for death in (one for one in world.troubles if one.is_death):
        told = [row for row in rows if row.tone is Tone.BROKEN and _is_about(world, row, death)]
        if told:
            report.waits.append(told[0].opened_at - death.begins)
        else:
            report.missed.append(f"{death.begins:%d. %H:%M} {death.kind} {death.struck} until {death.ends:%H:%M}")
    report.left_open = [row.text for row in rows if row.closed_at is None]


def _is_about(world: World, row: Notice, one: Trouble) -> bool:
    """Whether a notice was opened while the trouble was there, and names what it struck."""
    # A moment may pass until the portal sees that it is over.
    if not one.begins <= row.opened_at <= one.ends + 30 * MINUTE:
        return False
    of = (PASSING | DEATHS)[one.kind]
    names = row.text + row.standing_still
    if of in ("token", "account"):
        return f"{one.struck}@sim.test" in names or f"Mailbox {one.struck:03}" in names
    if of == "config":
        return f"“{TokenConfig.get_by_id(one.struck).name}”" in row.text
    if of == "destination":
        return f"Store {one.struck.removeprefix('store')}" in row.text
    return of == "all" or str(one.struck) in names


def _has_reason(world: World, row: Notice) -> bool:
    """Red only for a death; amber for what was not short. A short one is no reason for either."""
    reasons = [one for one in world.troubles if _is_about(world, row, one) and not one.is_short]
    if row.tone is Tone.BROKEN:
        # A machine's part that is silent for so long is broken, and so may a refusal be that lasts for an hour.
        lasting = ("workers restart", "redis restart", "clock restart", "refused for a moment", "not connected")
        return any(one.is_death or one.kind in lasting for one in reasons)
    return bool(reasons)


def main() -> None:
    """As part of the benches: thirty days, two hundred mailboxes."""
    import tempfile

    from portal import startup
    from portal.config import from_environment
    from portal.db import connected

    with tempfile.TemporaryDirectory() as name:
        config = from_environment({"PORTAL_DATA": name})
        startup.upgrade(config, now=NOW)
        startup.start(config)
        with connected():
            report = simulate(Path(name), days=30, mailboxes=200)
        print(report)
        for line in [*report.false_alarms, *report.missed]:
            print("  ", line)


if __name__ == "__main__":
    main()
