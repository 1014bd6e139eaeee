"""Delivers batches of fetched messages; each message is recorded in the ledger before and after its delivery."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import BinaryIO, Self

from portal.core import errors
from portal.core.db import transaction
from portal.core.errors import Refused, Side
from portal.incoming import destinations, header_filter, large_messages, ledger, routing
from portal.incoming.destinations import Delivery
from portal.incoming.fetch_session import FetchSession
from portal.incoming.ledger import Ledger, Seen
from portal.incoming.prefetch import FetchedMessage, Limits
from portal.models import Destination, LargeMessages, Message
from portal.protocols import message_info
from portal.system import settings
from portal.triggers import triggers
from portal.triggers.triggers import Trigger

#: A message with its content.
Incoming = tuple[Seen, BinaryIO]


@dataclass
class _Begun:
    """A delivery in progress, and the files that stay open until it is complete."""

    done: Future[None]
    rows: list[Message]
    destination: Destination
    opened: ExitStack


@dataclass
class Deliveries:
    """Delivers the messages of one run."""

    keep: FetchSession
    rows: Ledger
    #: The uids on the server when the run started.
    listed: set[str]
    #: Delivered messages whose after-fetch action is pending.
    to_treat: list[Message] = field(default_factory=list)
    #: Messages above the size limit that are still to be moved on the server.
    to_move: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account, self.run = self.keep.account, self.keep.log
        keeps_headers = self.account.large_messages is LargeMessages.HEADERS
        self.limits = Limits(settings.largest_message(), headers=keeps_headers)
        self._disk = ThreadPoolExecutor(1)
        self._begun: _Begun | None = None
        self._listening = triggers.subscribers(Trigger.MAIL_DELIVERED)
        self._untrusted = [] if self.account.trusted else settings.untrusted_headers()
        self._by_address: dict[str, Destination] = {}
        if self.account.dispatch_by_address:
            self._by_address = routing.by_address((row, row.addresses) for row in Destination.select())

    def due_at(self, batch: list[FetchedMessage]) -> list[Incoming]:
        """Record a batch in the ledger and return the messages to deliver, without refused and too large ones."""
        seen = self.rows.see({arrival.uid: arrival.about for arrival in batch}, self.keep.clock())
        wanted: list[Incoming] = []
        for arrival in batch:
            row = seen[arrival.uid].row
            if arrival.refused:
                self._quarantine(row, arrival.refused)
            elif arrival.is_too_large:
                self._too_large(row, arrival)
            elif arrival.content:
                wanted.append((seen[arrival.uid], arrival.content))
        return self._without_twins(wanted) if wanted else []

    def _without_twins(self, wanted: list[Incoming]) -> list[Incoming]:
        """Leave out messages that were delivered with identical content under a uid that no longer exists."""
        twins = self.rows.twins([seen.row for seen, _ in wanted], self.listed)
        for seen, _ in wanted:
            if twin := twins.get(seen.row.id):
                ledger.delivered([seen.row], twin.destination, self.run, self.keep.clock())
                self.to_treat.append(seen.row)
                self.keep.say(f"Message {seen.row.uid} was delivered before as {twin.uid} (same content).")
        return [(seen, content) for seen, content in wanted if seen.row.id not in twins]

    def deliver(self, wanted: list[Incoming]) -> None:
        """Deliver messages or start their delivery; ``finish`` completes it. Unavailable: a destination is down."""
        grouped: dict[int, list[Incoming]] = {}
        found: dict[int, Destination] = {}
        for seen, content in wanted:
            destination = self._destination_of(content)
            found[destination.id] = destination
            grouped.setdefault(destination.id, []).append((seen, content))
        for key, some in grouped.items():
            self._deliver_to(found[key], some)
        if any(not isinstance(content, BytesIO) for _, content in wanted):
            # Temporary files are closed with their batch.
            self.finish()

    def _destination_of(self, content: BinaryIO) -> Destination:
        otherwise: Destination = self.account.destination
        if not self._by_address:
            return otherwise
        content.seek(0)
        return routing.choose(content.read(message_info.HEADER_BYTES), self._by_address, otherwise)

    def _deliver_to(self, destination: Destination, some: list[Incoming]) -> None:
        self.finish()
        together = destinations.delivers_in_batches(destination)
        (self.keep.hold if together else self.keep.hold_for_long)()
        with errors.on(Side.DESTINATION):
            there = destinations.settle(destination, [seen.row for seen, _ in some if not seen.is_new])
        with ExitStack() as opened:
            parcels: list[Delivery] = [
                (seen.row, opened.enter_context(header_filter.without(content, self._untrusted)))
                for seen, content in some
                if seen.row.id not in there
            ]
            if together:
                done = self._disk.submit(destinations.deliver_together, destination, parcels)
                self._begun = _Begun(done, [seen.row for seen, _ in some], destination, opened.pop_all())
            else:
                self._deliver_singly(destination, parcels)

    def finish(self) -> None:
        """Wait for the delivery in progress and record it; one batch is written to disk while the next is checked."""
        if begun := self._begun:
            self._begun = None
            with begun.opened, errors.on(Side.DESTINATION):
                begun.done.result()
            self._note(begun.rows, begun.destination)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the thread; the next run finds messages that are written but not recorded at their destination."""
        self._disk.shutdown()
        if self._begun:
            self._begun.opened.close()

    def _deliver_singly(self, destination: Destination, parcels: list[Delivery]) -> None:
        for row, content in parcels:
            if not self.keep.go_on():
                return
            self.keep.hold_for_long()
            try:
                with errors.on(Side.DESTINATION):
                    destinations.deliver(destination, (row, content), self.keep.clock)
            except Refused as error:
                self._quarantine(row, error)
            else:
                self._note([row], destination)

    def _note(self, rows: list[Message], destination: Destination) -> None:
        with transaction():
            ledger.delivered(rows, destination, self.run, self.keep.clock())
            self.run.delivered += len(rows)
            self.run.size += sum(row.size for row in rows)
            self.run.save()
            self._tell(rows, destination)
        self.to_treat += rows

    def _tell(self, rows: list[Message], destination: Destination) -> None:
        """Trigger the web services for delivered mail; the list of services is read once per run."""
        for row in rows if self._listening else []:
            facts = {
                "account": self.account.name,
                "destination": destination.name,
                "message_id": row.message_id or "",
                "sender": row.sender,
                "subject": row.subject,
                "size": row.size,
            }
            triggers.fire(self._listening, Trigger.MAIL_DELIVERED, facts, self.account.name, now=self.keep.clock())

    def _quarantine(self, row: Message, error: Refused) -> None:
        ledger.failed(row, str(error), self.run, self.keep.clock())
        self.run.failed += 1
        name = f"Message {row.uid} ({row.message_id or 'no Message-ID'})"
        self.keep.say(f"{name} was not delivered and stays on the server: {error}", "error")

    def _too_large(self, row: Message, arrival: FetchedMessage) -> None:
        assert self.limits.largest is not None
        if arrival.content and row.delivered_at is None:
            self._announce(row, arrival.content, self.limits.largest)
        if self.account.large_messages is LargeMessages.MOVE:
            self.to_move.append(row)
        ledger.too_large(row)
        limit = f"the limit of {self.limits.largest // 1024:,} KB (PostMasterMaxEmailSize)"
        self.keep.say(f"Message {row.uid} ({row.size // 1024:,} KB) exceeds {limit}; {self._fate()}.", "warning")

    def _fate(self) -> str:
        return {
            LargeMessages.KEEP: "it stays on the server",
            LargeMessages.MOVE: f"it will be moved to {self.account.move_large_to}",
            LargeMessages.HEADERS: "it stays on the server and its headers are delivered",
        }[self.account.large_messages]

    def _announce(self, row: Message, header: BinaryIO, limit: int) -> None:
        folder = "" if self.account.type.is_pop3 else self.account.folder
        text = large_messages.announcement(header, size=row.size, limit=limit, login=self.account.login, folder=folder)
        destination = self._destination_of(header)
        self.keep.hold_for_long()
        # A separate delivery key: the message itself may be delivered later.
        named = Message(
            mail_account=self.account, uid=row.uid, seen_at=row.seen_at, delivery_key=f"{row.delivery_key}h",
            message_id=row.message_id, sender=row.sender, subject=row.subject, size=row.size,
        )  # fmt: skip
        with header_filter.without(text, self._untrusted) as passed:
            try:
                with errors.on(Side.DESTINATION):
                    if destinations.delivers_in_batches(destination):
                        destinations.deliver_together(destination, [(named, passed)])
                    else:
                        destinations.deliver(destination, (named, passed), self.keep.clock)
            except Refused as error:
                self.keep.say(f"The headers of message {row.uid} were not delivered: {error}", "warning")
            else:
                ledger.announced(row, destination, self.run, self.keep.clock())
