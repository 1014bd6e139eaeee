"""The ledger of one mailbox: which of its messages were seen, delivered, removed."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from peewee import Expression

from portal.db import transaction
from portal.models import MailAccount, Message, MessageState, tuples


def mailbox_key(account: MailAccount, uid_validity: int) -> str:
    """Names a mailbox for ever: another host, login or folder is another mailbox, and so is a new UIDVALIDITY."""
    where = "\0".join((account.host.lower(), account.login, account.folder))
    return f"{hashlib.sha256(where.encode()).hexdigest()[:32]};{uid_validity}"


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

    def waiting(self, uids: list[int]) -> list[int]:
        """Those of ``uids`` still to be delivered; what failed before comes last, so that it blocks nothing."""
        there = Message.select(Message.uid, Message.state).where(self._here, Message.removed_at.is_null())
        states = {int(uid): state for uid, state in tuples(there)}
        new = [uid for uid in uids if states.get(uid, MessageState.SEEN) is MessageState.SEEN]
        return new + [uid for uid in uids if states.get(uid) is MessageState.FAILED]

    def see(self, sizes: dict[int, int], now: datetime) -> dict[int, Seen]:
        """The row of each message, in the order of ``sizes``; new ones are written in one transaction."""
        texts = [str(uid) for uid in sizes]
        with transaction():
            known = {int(row.uid): row for row in Message.select().where(self._here, Message.uid.in_(texts))}
            return {
                uid: Seen(known[uid], is_new=False) if uid in known else Seen(self._new(uid, size, now), is_new=True)
                for uid, size in sizes.items()
            }

    def _new(self, uid: int, size: int, now: datetime) -> Message:
        return Message.create(
            mail_account=self._account,
            mailbox=self._mailbox,
            uid=str(uid),
            delivery_key=secrets.token_hex(12),
            size=size,
            seen_at=now,
        )

    def left_over(self, uids: list[int]) -> list[Message]:
        """Delivered, still on the server: a run was cut off before it could remove them."""
        delivered = Message.select().where(
            self._here, Message.state == MessageState.DELIVERED, Message.removed_at.is_null()
        )
        there = {str(uid) for uid in uids}
        return [row for row in delivered if row.uid in there]


def delivered(row: Message, now: datetime) -> None:
    """Written after the destination has it for good, and before the server is told to remove it."""
    row.state, row.delivered_at, row.failure = MessageState.DELIVERED, now, None
    row.save()


def failed(row: Message, reason: str) -> None:
    row.state, row.failure = MessageState.FAILED, reason
    row.save()


def removed(rows: list[Message], now: datetime) -> None:
    Message.update(removed_at=now).where(Message.id.in_([row.id for row in rows])).execute()
