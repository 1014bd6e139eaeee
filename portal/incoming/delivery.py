"""Delivers batches of fetched messages; each message is recorded in the ledger before and after its delivery."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import BinaryIO, Self

from portal.core import errors
from portal.core.db import transaction
from portal.core.errors import ExternalError, InternalError, Refused, Side
from portal.incoming import destinations, header_filter, large_messages, ledger, routing
from portal.incoming.after_fetch import AfterFetchStage
from portal.incoming.batches import FetchedMessage, Limits
from portal.incoming.destinations import Delivery
from portal.incoming.fetch_session import FetchSession
from portal.incoming.ledger import Ledger, Seen
from portal.models import Destination, LargeMessages, Message
from portal.protocols import message_info
from portal.system import settings
from portal.triggers import triggers
from portal.triggers.triggers import Trigger

#: A message with its content.
Incoming = tuple[Seen, BinaryIO]


@dataclass
class _Started:
    """A delivery in progress, and the files that stay open until it is complete."""

    done: Future[None]
    rows: list[Message]
    destination: Destination
    opened: ExitStack


@dataclass
class DeliveryStage:
    """Delivers the messages of one run."""

    session: FetchSession
    rows: Ledger
    after_fetch: AfterFetchStage
    #: The uids on the server when the run started.
    listed: set[str]

    def __post_init__(self) -> None:
        self.account, self.run = self.session.account, self.session.run
        keeps_headers = self.account.large_messages is LargeMessages.HEADERS
        self.limits = Limits(settings.largest_message(), headers=keeps_headers)
        self._disk = ThreadPoolExecutor(1)
        self._started: _Started | None = None
        self._subscribers = triggers.subscribers(Trigger.MAIL_DELIVERED)
        self._untrusted = [] if self.account.trusted else settings.untrusted_headers()
        self._by_address: dict[str, Destination] = {}
        if self.account.dispatch_by_address:
            self._by_address = routing.by_address((row, row.addresses) for row in Destination.select())

    def record_seen(self, batch: list[FetchedMessage]) -> list[Incoming]:
        """Record a batch in the ledger and return the messages to deliver, without refused and too large ones."""
        seen = self.rows.see({message.uid: message.about for message in batch}, self.session.clock())
        wanted: list[Incoming] = []
        for message in batch:
            row = seen[message.uid].row
            if message.refused:
                self._quarantine(row, message.refused)
            elif message.is_too_large:
                self._too_large(row, message)
            elif message.content:
                wanted.append((seen[message.uid], message.content))
        return self._without_duplicates(wanted) if wanted else []

    def _without_duplicates(self, wanted: list[Incoming]) -> list[Incoming]:
        """Leave out messages that were delivered with identical content under a uid that no longer exists."""
        twins = self.rows.twins([seen.row for seen, _ in wanted], self.listed)
        for seen, _ in wanted:
            if twin := twins.get(seen.row.id):
                ledger.delivered([seen.row], twin.destination, self.run, self.session.clock())
                self.after_fetch.add([seen.row])
                self.session.log.info(f"Message {seen.row.uid} was delivered before as {twin.uid} (same content).")
        return [(seen, content) for seen, content in wanted if seen.row.id not in twins]

    def start(self, wanted: list[Incoming]) -> None:
        """Deliver messages or start their delivery; ``complete`` completes it. Unavailable: a destination is down."""
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
            self.complete()

    def _destination_of(self, content: BinaryIO) -> Destination:
        otherwise: Destination = self.account.destination
        if not self._by_address:
            return otherwise
        content.seek(0)
        return routing.choose(content.read(message_info.HEADER_BYTES), self._by_address, otherwise)

    def _deliver_to(self, destination: Destination, some: list[Incoming]) -> None:
        self.complete()
        together = destinations.delivers_in_batches(destination)
        (self.session.extend_lease if together else self.session.extend_lease_for_delivery)()
        with errors.on(Side.DESTINATION):
            there = destinations.settle(destination, [seen.row for seen, _ in some if not seen.is_new])
        with ExitStack() as opened:
            messages: list[Delivery] = [
                (seen.row, opened.enter_context(header_filter.without(content, self._untrusted)))
                for seen, content in some
                if seen.row.id not in there
            ]
            if together:
                done = self._disk.submit(destinations.deliver_together, destination, messages)
                self._started = _Started(done, [seen.row for seen, _ in some], destination, opened.pop_all())
            else:
                self._deliver_singly(destination, messages)

    def complete(self) -> None:
        """Wait for the delivery in progress and record it; one batch is written to disk while the next is checked."""
        if started := self._started:
            self._started = None
            with started.opened, errors.on(Side.DESTINATION):
                started.done.result()
            self._record(started.rows, started.destination)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the thread; the next run finds messages that are written but not recorded at their destination."""
        self._disk.shutdown()
        if self._started:
            self._started.opened.close()

    def _deliver_singly(self, destination: Destination, messages: list[Delivery]) -> None:
        for row, content in messages:
            if not self.session.should_continue():
                return
            self.session.extend_lease_for_delivery()
            try:
                with errors.on(Side.DESTINATION), errors.guarded(f"Message {row.id}: delivery"):
                    destinations.deliver(destination, (row, content), self.session.clock)
            except (Refused, InternalError) as error:
                # A message that the portal cannot handle must not stop those behind it.
                self._quarantine(row, error)
            else:
                self._record([row], destination)

    def _record(self, rows: list[Message], destination: Destination) -> None:
        with transaction():
            ledger.delivered(rows, destination, self.run, self.session.clock())
            self.run.delivered += len(rows)
            self.run.size += sum(row.size for row in rows)
            self.run.save()
            self._trigger(rows, destination)
        self.after_fetch.add(rows)

    def _trigger(self, rows: list[Message], destination: Destination) -> None:
        """Trigger the web services for delivered mail; the list of services is read once per run."""
        for row in rows if self._subscribers else []:
            facts = {
                "account": self.account.name,
                "destination": destination.name,
                "message_id": row.message_id or "",
                "sender": row.sender,
                "subject": row.subject,
                "size": row.size,
            }
            triggers.fire(self._subscribers, Trigger.MAIL_DELIVERED, facts, self.account.name, now=self.session.clock())

    def _quarantine(self, row: Message, error: ExternalError) -> None:
        ledger.failed(row, str(error), self.run, self.session.clock())
        self.run.failed += 1
        name = f"Message {row.uid} ({row.message_id or 'no Message-ID'})"
        self.session.log.error(f"{name} was not delivered and stays on the server: {error}")

    def _too_large(self, row: Message, message: FetchedMessage) -> None:
        assert self.limits.largest is not None
        if message.content and row.delivered_at is None:
            self._deliver_headers(row, message.content, self.limits.largest)
        self.after_fetch.add_large([row])
        ledger.too_large(row)
        limit = f"the limit of {self.limits.largest // 1024:,} KB (PostMasterMaxEmailSize)"
        self.session.log.warning(f"Message {row.uid} ({row.size // 1024:,} KB) exceeds {limit}; {self._action()}.")

    def _action(self) -> str:
        return {
            LargeMessages.KEEP: "it stays on the server",
            LargeMessages.MOVE: f"it will be moved to {self.account.move_large_to}",
            LargeMessages.HEADERS: "it stays on the server and its headers are delivered",
        }[self.account.large_messages]

    def _deliver_headers(self, row: Message, header: BinaryIO, limit: int) -> None:
        folder = self.account.folder if self.account.type.has_folders else ""
        text = large_messages.announcement(header, size=row.size, limit=limit, login=self.account.login, folder=folder)
        destination = self._destination_of(header)
        self.session.extend_lease_for_delivery()
        # A separate delivery key: the message itself may be delivered later.
        named = Message(
            mail_account=self.account, uid=row.uid, seen_at=row.seen_at, delivery_key=f"{row.delivery_key}h",
            message_id=row.message_id, sender=row.sender, subject=row.subject, size=row.size,
        )  # fmt: skip
        with header_filter.without(text, self._untrusted) as passed:
            try:
                with errors.on(Side.DESTINATION), errors.guarded(f"Message {row.id}: delivery of its headers"):
                    if destinations.delivers_in_batches(destination):
                        destinations.deliver_together(destination, [(named, passed)])
                    else:
                        destinations.deliver(destination, (named, passed), self.session.clock)
            except (Refused, InternalError) as error:
                self.session.log.warning(f"The headers of message {row.uid} were not delivered: {error}")
            else:
                ledger.announced(row, destination, self.run, self.session.clock())
