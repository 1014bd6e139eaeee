"""The ledger of one mailbox: which of its messages were seen, delivered, removed."""

import secrets
from datetime import datetime

from peewee import Expression

from portal.db import transaction
from portal.models import MailAccount, Message, MessageState, tuples


class Ledger:
    """The rows of one account in one mailbox (folder and UIDVALIDITY)."""

    def __init__(self, account: MailAccount, mailbox: str) -> None:
        self._account = account
        self._mailbox = mailbox
        self._here: Expression = (Message.mail_account == account.id) & (Message.mailbox == mailbox)

    def waiting(self, uids: list[int]) -> list[int]:
        """Those of ``uids`` that are still to be delivered: never seen, or seen and not marked as delivered."""
        settled = Message.select(Message.uid).where(self._here, Message.state != MessageState.SEEN)
        done = {uid for (uid,) in tuples(settled)}
        return [uid for uid in uids if str(uid) not in done]

    def see(self, sizes: dict[int, int], now: datetime) -> dict[int, Message]:
        """The row of each message, new ones written in one transaction."""
        texts = [str(uid) for uid in sizes]
        with transaction():
            rows = {int(row.uid): row for row in Message.select().where(self._here, Message.uid.in_(texts))}
            for uid in sizes.keys() - rows.keys():
                rows[uid] = self._new(uid, sizes[uid], now)
        return rows

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
