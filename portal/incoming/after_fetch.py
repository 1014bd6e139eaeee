"""The last stage of a fetch: the after-fetch action on the server, recorded in the ledger when it is done."""

from collections.abc import Callable
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from portal.core.errors import ExternalError, Refused
from portal.incoming import batches, ledger
from portal.incoming.fetch_session import FetchSession
from portal.incoming.ledger import Ledger
from portal.incoming.mailbox_connection import Mailbox
from portal.models import AfterFetch, LargeMessages, Message
from portal.protocols import message_info

#: Time limit for verifying messages of earlier runs before they are removed.
_VERIFY_LIMIT = timedelta(minutes=5)
#: Messages that are delivered before the action is applied to them.
ROUND = 1000
_IN_MEMORY_BYTES = 4 * 1024 * 1024


class AfterFetchStage:
    """Takes delivered messages, and applies the account's action to them when ``apply`` is called.

    The caller may use the mailbox only while no other stage does. Raises LeaseLost before it changes the server without
    the lease.
    """

    def __init__(self, session: FetchSession, mailbox: Mailbox, rows: Ledger) -> None:
        self._session, self._mailbox, self._rows = session, mailbox, rows
        self._action = session.account.after_fetch
        self._moves_large = session.account.large_messages is LargeMessages.MOVE
        #: Delivered messages whose action is pending.
        self._delivered: list[Message] = []
        #: Messages above the size limit that are still to be moved.
        self._large: list[Message] = []

    def add(self, rows: list[Message]) -> None:
        if self._action is not AfterFetch.KEEP:
            self._delivered += rows

    def add_large(self, rows: list[Message]) -> None:
        if self._moves_large:
            self._large += rows

    def complete_interrupted(self, uids: list[str]) -> None:
        """Expunge messages that an interrupted run marked as deleted but did not expunge."""
        folders = self._mailbox.folders
        if folders is None or self._action not in (AfterFetch.DELETE, AfterFetch.MOVE):
            return
        if unlisted := self._rows.unlisted(uids):
            marked = set(folders.marked_as_deleted())
            self._remove([row for row in unlisted if row.uid in marked], self._mailbox.remove)

    def resume(self, uids: list[str], largest: int | None) -> None:
        """Take over what earlier runs delivered, or found too large, and left on the server."""
        if self._action is not AfterFetch.KEEP:
            self._delivered += self._verified(self._rows.left_over(uids))
        if self._moves_large:
            self._large += self._rows.still_too_large(uids, largest)

    def _verified(self, rows: list[Message]) -> list[Message]:
        until = self._session.clock() + _VERIFY_LIMIT
        same = []
        for row in rows:
            if not self._session.should_continue() or self._session.clock() > until:
                break
            if self._is_the_same(row):
                same.append(row)
        return same

    def _is_the_same(self, row: Message) -> bool:
        """Whether the message with this uid is still the delivered one: a POP3 server may reuse a UIDL."""
        if not self._mailbox.removes_at_end:
            return True
        self._session.extend_lease()
        with cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as content:
            try:
                self._mailbox.download(row.uid, row.size, content)()
            except Refused as error:
                self._session.log.warning(f"Message {row.uid} could not be verified and was not deleted: {error}")
                return False
            if message_info.digest(content) == row.digest:
                return True
        self._rows.retire([row])
        return False

    def rounds(self, uids: list[str]) -> list[list[str]]:
        """Divide the new messages: between two rounds no response is under way, and the action is applied."""
        has_no_action = self._action is AfterFetch.KEEP and not self._moves_large
        if has_no_action or self._mailbox.removes_at_end:
            return [uids] if uids else []
        return [uids[at : at + ROUND] for at in range(0, len(uids), ROUND)]

    def apply(self) -> None:
        """Apply the action to all messages taken so far. A POP3 session ends with it: call it last."""
        self._move_large()
        rows, self._delivered = self._delivered, []
        for some in [rows] if self._mailbox.removes_at_end else _sliced(rows):
            self._apply_to(some)

    def apply_now(self) -> None:
        """Apply the action, unless the mailbox can do so only at the end."""
        if not self._mailbox.removes_at_end:
            self.apply()

    def _move_large(self) -> None:
        """Move messages above the size limit. If that fails, the run continues and the next run retries."""
        folders, to = self._mailbox.folders, self._session.account.move_large_to
        rows, self._large = self._large, []
        if folders is None:
            return
        try:
            self._remove(rows, lambda uids: folders.move(uids, to))
        except ExternalError as error:
            self._session.log.warning(f"Large messages were not moved to {to}: {error}")

    def _apply_to(self, rows: list[Message]) -> None:
        folders, to = self._mailbox.folders, self._session.account.move_to
        if folders and self._action is AfterFetch.SEEN:
            self._session.extend_lease()
            folders.mark_read([row.uid for row in rows])
            ledger.marked(rows, self._session.clock())
        elif folders and self._action is AfterFetch.MOVE:
            self._remove(rows, lambda uids: folders.move(uids, to))
        else:
            self._remove(rows, self._mailbox.remove)

    def _remove(self, rows: list[Message], act: Callable[[list[str]], None]) -> None:
        """Remove or move messages on the server with ``act``, then record them as removed."""
        if not rows:
            return
        self._session.extend_lease()
        act([row.uid for row in rows])
        ledger.removed(rows, self._session.clock())
        self._session.run.removed += len(rows)


def _sliced(rows: list[Message]) -> list[list[Message]]:
    return [rows[at : at + batches.BATCH] for at in range(0, len(rows), batches.BATCH)]
