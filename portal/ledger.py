"""The ledger of one mailbox: which of its messages were seen, delivered, removed."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from peewee import Expression

from portal import schedule
from portal.db import transaction
from portal.models import AfterFetch, Destination, MailAccount, Message, MessageState


def mailbox_key(account: MailAccount, generation: str) -> str:
    """Names a mailbox for ever: another host, login or folder is another mailbox, and so is a new UIDVALIDITY."""
    folder = "INBOX" if account.type.is_pop3 else account.folder
    where = "\0".join((account.host.lower(), account.login, folder))
    return f"{hashlib.sha256(where.encode()).hexdigest()[:32]};{generation}"


@dataclass(frozen=True)
class Seen:
    """A message to deliver; ``is_new`` is False when an earlier run may have delivered it without saying so."""

    row: Message
    is_new: bool


class Ledger:
    """The rows of one account in one mailbox."""

    def __init__(self, account: MailAccount, mailbox: str) -> None:
        self._account = account
        self._mailbox = mailbox
        self._here: Expression = (Message.mail_account == account.id) & (Message.mailbox == mailbox)

    def note_gone(self, uids: list[str], now: datetime) -> None:
        """Messages that are no longer on the server, whoever took them off: their uids may come to mean others."""
        listed = set(uids)
        there = Message.select(Message.id, Message.uid).where(self._here, Message.removed_at.is_null())
        removed([row for row in there if row.uid not in listed], now)

    def waiting(self, uids: list[str], largest: int | None, now: datetime) -> list[str]:
        """Those of ``uids`` to be delivered now; what failed before comes last, so that it blocks nothing.

        ``largest``: bytes up to which a message is taken, None: any size.
        """
        rows = Message.select().where(self._here, Message.removed_at.is_null(), Message.state != MessageState.SEEN)
        noted = {row.uid: row for row in rows}
        again = [uid for uid, row in noted.items() if _is_to_be_tried_again(row, largest, now)]
        listed = set(uids)
        return [uid for uid in uids if uid not in noted] + [uid for uid in again if uid in listed]

    def see(self, sizes: dict[str, int], now: datetime) -> dict[str, Seen]:
        """The row of each message, in the order of ``sizes``; new ones are written in one transaction."""
        with transaction():
            known = {row.uid: row for row in Message.select().where(self._here, Message.uid.in_(list(sizes)))}
            self.retire([row for row in known.values() if row.removed_at])
            known = {uid: row for uid, row in known.items() if row.removed_at is None}
            return {
                uid: Seen(known[uid], is_new=False) if uid in known else Seen(self._new(uid, size, now), is_new=True)
                for uid, size in sizes.items()
            }

    def retire(self, rows: list[Message]) -> None:
        """POP3 servers use a UIDL again once its message has gone: what comes under it now is another message."""
        for row in rows:
            gone_at = row.removed_at or row.delivered_at
            Message.update(uid=f"{row.uid[:80]}#{row.id}", removed_at=gone_at).where(Message.id == row.id).execute()

    def _new(self, uid: str, size: int, now: datetime) -> Message:
        return Message.create(
            mail_account=self._account,
            mailbox=self._mailbox,
            uid=uid,
            delivery_key=secrets.token_hex(12),
            size=size,
            seen_at=now,
        )

    def twin(self, row: Message, listed: set[str]) -> Message | None:
        """An earlier delivery of the very same bytes whose place on the server is no more.

        After a new UIDVALIDITY, a restored backup or a re-upload it is the same message; two that lie side by side in
        one mailbox are two.
        """
        same = (Message.mail_account == self._account.id) & (Message.digest == row.digest) & (Message.id != row.id)
        place = self._mailbox.rpartition(";")[0]
        for other in Message.select().where(same, Message.state == MessageState.DELIVERED):
            is_gone = other.mailbox != self._mailbox or other.uid not in listed
            if is_gone and other.mailbox.startswith(f"{place};"):
                return other
        return None

    def left_over(self, uids: list[str]) -> list[Message]:
        """Delivered, and not yet treated on the server as the account says: a run was cut off before it could."""
        untreated = Message.removed_at.is_null()
        if self._account.after_fetch is AfterFetch.SEEN:
            untreated &= Message.marked_at.is_null()
        delivered = Message.select().where(self._here, Message.state == MessageState.DELIVERED, untreated)
        there = set(uids)
        return [row for row in delivered if row.uid in there]


def _is_to_be_tried_again(row: Message, largest: int | None, now: datetime) -> bool:
    if row.state is MessageState.TOO_LARGE:
        return largest is None or row.size <= largest
    return row.state is MessageState.FAILED and (row.try_at is None or row.try_at <= now)


def delivered(row: Message, destination: Destination | None, now: datetime) -> None:
    """Written after the destination has it for good, and before the server is told to remove it."""
    row.state, row.delivered_at, row.failure, row.try_at = MessageState.DELIVERED, now, None, None
    row.destination = destination
    row.save()


def failed(row: Message, reason: str, now: datetime) -> None:
    """Into quarantine; tried again by itself, ever less often."""
    row.tries += 1
    row.state, row.failure, row.try_at = MessageState.FAILED, reason, schedule.retry_at(now, row.tries)
    row.save()


def too_large(row: Message) -> bool:
    """Note it; whether that is news."""
    is_news = row.state is not MessageState.TOO_LARGE
    row.state = MessageState.TOO_LARGE
    row.save()
    return is_news


def removed(rows: list[Message], now: datetime) -> None:
    _note(rows, removed_at=now)


def marked(rows: list[Message], now: datetime) -> None:
    _note(rows, marked_at=now)


def _note(rows: list[Message], **at: datetime) -> None:
    """In slices: a statement takes only so many values."""
    for start in range(0, len(rows), 500):
        ids = [row.id for row in rows[start : start + 500]]
        Message.update(**at).where(Message.id.in_(ids)).execute()
