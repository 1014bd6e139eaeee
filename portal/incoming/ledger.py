"""The ledger of a mailbox: which messages were seen, delivered and removed."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from peewee import Expression, Field

from portal import causes
from portal.causes import Where
from portal.core import retry_pauses
from portal.core.db import database, transaction
from portal.models import AfterFetch, Destination, LargeMessages, MailAccount, Message, MessageState, Run, tuples
from portal.protocols.message_info import Description

#: Maximum number of values in one SQL statement.
_SLICE = 500


def mailbox_key(account: MailAccount, generation: str) -> str:
    """Permanent key of a mailbox; a new host, login, folder or UIDVALIDITY makes a different mailbox."""
    # RFC 3501 section 5.1: INBOX is the same in any case.
    is_inbox = not account.type.has_folders or account.folder.upper() == "INBOX"
    folder = "INBOX" if is_inbox else account.folder
    where = "\0".join((account.host.lower().rstrip("."), account.login, folder))
    return f"{hashlib.sha256(where.encode()).hexdigest()[:32]};{generation}"


@dataclass(frozen=True)
class Seen:
    """A message to deliver; ``is_new`` False: an earlier run may have delivered it without recording it."""

    row: Message
    is_new: bool


@dataclass(frozen=True)
class _Entry:
    """The ledger's facts about a message that is still on the server."""

    id: int
    state: MessageState
    size: int
    try_at: datetime | None


class Ledger:
    """The rows of one account in one mailbox."""

    def __init__(self, account: MailAccount, mailbox: str) -> None:
        self._account = account
        self._mailbox = mailbox
        self._here: Expression = (Message.mail_account == account.id) & (Message.mailbox == mailbox)
        columns = Message.uid, Message.id, Message.state, Message.size, Message.try_at
        there = Message.select(*columns).where(self._here, Message.removed_at.is_null())
        self._entries = {uid: _Entry(*facts) for uid, *facts in tuples(there)}

    def with_known(self, uids: list[str]) -> list[str]:
        """The messages of earlier lists that are not recorded as removed, and after them the new ones."""
        return list(dict.fromkeys([*self._entries, *uids]))

    def unlisted(self, uids: list[str]) -> list[Message]:
        """Delivered messages that are not recorded as removed, but are not listed by the server."""
        listed = set(uids)
        ids = [
            entry.id
            for uid, entry in self._entries.items()
            if entry.state is MessageState.DELIVERED and uid not in listed
        ]
        return list(Message.select().where(Message.id.in_(ids[:_SLICE]))) if ids else []

    def note_gone(self, uids: list[str], now: datetime) -> None:
        """Record as removed what is no longer on the server: a uid may later identify another message."""
        listed = set(uids)
        _update([entry.id for uid, entry in self._entries.items() if uid not in listed], removed_at=now)
        # Failed messages in a mailbox that the account no longer fetches cannot be retried.
        elsewhere = (Message.mail_account == self._account.id) & (Message.mailbox != self._mailbox)
        failed = (Message.state == MessageState.FAILED) & Message.removed_at.is_null()
        Message.update(removed_at=now).where(elsewhere, failed).execute()

    def still_too_large(self, uids: list[str], largest: int | None) -> list[Message]:
        """Messages that an earlier run recorded as too large and that are still on the server."""
        ids = [
            self._entries[uid].id
            for uid in uids
            if uid in self._entries
            and self._entries[uid].state is MessageState.TOO_LARGE
            and not _is_to_be_tried_again(self._entries[uid], largest, datetime.max.replace(tzinfo=UTC))
        ]
        return list(Message.select().where(Message.id.in_(ids[:_SLICE]))) if ids else []

    def waiting(self, uids: list[str], largest: int | None, now: datetime) -> list[str]:
        """The ``uids`` to deliver now; previously failed messages come last, so that they do not block others.

        ``largest``: maximum message size in bytes, None: no limit.
        """
        new = [uid for uid in uids if uid not in self._entries or self._entries[uid].state is MessageState.SEEN]
        again = [
            uid for uid in uids if uid in self._entries and _is_to_be_tried_again(self._entries[uid], largest, now)
        ]
        return new + again

    def see(self, found: Mapping[str, Description], now: datetime) -> dict[str, Seen]:
        """Return the row of each message; rows of new messages are inserted in one transaction."""
        with transaction():
            stored = self._rows(list(found))
            others = [row for row in stored if row.removed_at or self._is_another(row, found[row.uid])]
            self.retire(others)
            known = {row.uid: row for row in stored if row not in others}
            for uid, row in known.items():
                _describe(row, found[uid])
            new = {uid: self._new(uid, about, now) for uid, about in found.items() if uid not in known}
            self._insert(list(new.values()))
        rows = known | new
        return {uid: Seen(rows[uid], is_new=uid in new) for uid in found}

    def _is_another(self, row: Message, about: Description) -> bool:
        """Whether a UIDL was reused for another message. (IMAP never reuses a UID, even if the content differs.)"""
        return self._mailbox.endswith(";pop3") and None not in (row.digest, about.digest) and row.digest != about.digest

    def _rows(self, uids: list[str]) -> list[Message]:
        return list(Message.select().where(self._here, Message.uid.in_(uids)))

    def _new(self, uid: str, about: Description, now: datetime) -> Message:
        row = Message(
            mail_account=self._account.id,
            mailbox=self._mailbox,
            uid=uid,
            delivery_key=secrets.token_hex(12),
            seen_at=now,
        )
        _set(row, about)
        return row

    def _insert(self, rows: list[Message]) -> None:
        """Insert rows and set their ids.

        The SQL statement is built once; building it for each row would double the run time.
        """
        if not rows:
            return
        statement, _ = Message.insert_many([[None] * len(_NEW)], fields=_NEW).sql()
        first = rows[0].__data__
        # The same in all rows, and converted for the database once.
        alike = {column.name: column.db_value(first[column.name]) for column in (Message.seen_at, Message.state)}
        names = [column.name for column in _NEW]
        values = [[alike.get(name, row.__data__[name]) for name in names] for row in rows]
        database.cursor().executemany(statement, values)
        written = Message.select(Message.uid, Message.id).where(self._here, Message.uid.in_([row.uid for row in rows]))
        ids = dict(tuples(written))
        for row in rows:
            row.id = ids[row.uid]
            row._dirty.clear()

    def retire(self, rows: list[Message]) -> None:
        """Rename the uids of messages that are no longer on the server: POP3 servers may reuse a UIDL."""
        for row in rows:
            self._entries.pop(row.uid, None)
            gone_at = row.removed_at or row.delivered_at
            Message.update(uid=f"{row.uid[:80]}#{row.id}", removed_at=gone_at).where(Message.id == row.id).execute()

    def twins(self, rows: Iterable[Message], listed: set[str]) -> dict[int, Message]:
        """Map row ids to earlier deliveries of identical content that is no longer on the server.

        After a new UIDVALIDITY, a restored backup or a re-upload, identical content is the same message. Two identical
        messages that are in a mailbox at the same time are two messages.
        """
        by_digest = {row.digest: row for row in rows}
        same = (Message.mail_account == self._account.id) & Message.digest.in_(list(by_digest))
        place = self._mailbox.rpartition(";")[0]
        found = {}
        for other in Message.select().where(same, Message.state == MessageState.DELIVERED):
            is_gone = other.mailbox != self._mailbox or other.uid not in listed
            if is_gone and other.mailbox.startswith(f"{place};"):
                found[other.digest] = other
        return {row.id: found[row.digest] for row in rows if row.digest in found and found[row.digest].id != row.id}

    def left_over(self, uids: list[str]) -> list[Message]:
        """Delivered messages whose after-fetch action is pending because a run was interrupted."""
        untreated = Message.removed_at.is_null()
        if self._account.after_fetch is AfterFetch.SEEN:
            untreated &= Message.marked_at.is_null()
        delivered = Message.select().where(self._here, Message.state == MessageState.DELIVERED, untreated)
        there = set(uids)
        return [row for row in delivered if row.uid in there]

    def is_settled(self, uids: list[str]) -> bool:
        """Whether a fetch of exactly these messages leaves nothing to do, now or later."""
        account = self._account
        states = [MessageState.DELIVERED, MessageState.SKIPPED]
        if account.large_messages is not LargeMessages.MOVE:
            states.append(MessageState.TOO_LARGE)
        settled = self._here & Message.removed_at.is_null() & Message.state.in_(states)
        if account.after_fetch is AfterFetch.SEEN:
            settled &= (Message.state != MessageState.DELIVERED) | Message.marked_at.is_null(False)
        elif account.after_fetch is not AfterFetch.KEEP:
            settled &= Message.state != MessageState.DELIVERED
        return int(Message.select().where(settled).count()) == len(uids)


#: The columns that are set in a new row; all others are NULL.
_NEW: list[Field] = [
    Message.mail_account, Message.mailbox, Message.uid, Message.delivery_key, Message.seen_at, Message.state,
    Message.tries, Message.size, Message.digest, Message.message_id, Message.sender, Message.subject,
]  # fmt: skip


def _set(row: Message, about: Description) -> None:
    row.size, row.digest, row.message_id = about.size, about.digest, about.message_id
    row.sender, row.subject = about.sender, about.subject


def _describe(row: Message, about: Description) -> None:
    _set(row, about)
    row.save()


def _is_to_be_tried_again(entry: _Entry, largest: int | None, now: datetime) -> bool:
    if entry.state is MessageState.TOO_LARGE:
        return largest is None or entry.size <= largest
    return entry.state is MessageState.FAILED and (entry.try_at is None or entry.try_at <= now)


def delivered(rows: list[Message], destination: Destination | None, run: Run, now: datetime) -> None:
    """Record messages as delivered: after the destination stored them, before they are removed on the server."""
    _update(
        [row.id for row in rows],
        state=MessageState.DELIVERED,
        delivered_at=now,
        destination=destination,
        run=run,
        failure=None,
        failure_cause=None,
        try_at=None,
    )


def failed(row: Message, reason: str, run: Run, now: datetime) -> None:
    """Quarantine a message; it is retried automatically at increasing intervals."""
    row.tries += 1
    row.state, row.failure, row.try_at = MessageState.FAILED, reason, retry_pauses.retry_at(now, row.tries)
    row.failure_cause = causes.recognize(reason, Where.DESTINATION).name
    row.run = run
    row.save()


def too_large(row: Message) -> None:
    """Record a message as too large; it is not fetched unless the limit is raised."""
    row.state = MessageState.TOO_LARGE
    row.save()


def announced(row: Message, destination: Destination, run: Run, now: datetime) -> None:
    """Record that the headers of a message that is too large were delivered."""
    row.delivered_at, row.destination, row.run = now, destination, run
    row.save()


def removed(rows: list[Message], now: datetime) -> None:
    _update([row.id for row in rows], removed_at=now)


def marked(rows: list[Message], now: datetime) -> None:
    _update([row.id for row in rows], marked_at=now)


def _update(ids: list[int], **facts: object) -> None:
    for start in range(0, len(ids), _SLICE):
        Message.update(**facts).where(Message.id.in_(ids[start : start + _SLICE])).execute()
