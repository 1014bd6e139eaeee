"""A folder of a mailbox at Microsoft Graph, fetched as MIME.

https://learn.microsoft.com/graph/api/message-delta, https://learn.microsoft.com/graph/outlook-get-mime-message,
https://learn.microsoft.com/graph/outlook-immutable-id
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from portal.core.errors import Refused, Unavailable
from portal.protocols import graph_folders
from portal.protocols.graph import (
    AccessRefused,
    Graph,
    LinkExpired,
    NotThere,
    ServerError,
    entries,
    link,
    objects,
    opened,
)
from portal.protocols.https_connection import TooLong
from portal.protocols.imap import WHOLE_UP_TO_BYTES
from portal.protocols.sasl import Credential
from portal.protocols.server import Server

#: PidTagMessageSize ([MS-OXPROPS] 2.796): the size in the store, which differs somewhat from the size of the MIME text.
_SIZE = quote("singleValueExtendedProperties($filter=id eq 'LONG 0x0E08')")
#: A message of unknown size is fetched alone, into a file.
_UNKNOWN_SIZE = WHOLE_UP_TO_BYTES + 1
#: A list is requested for so long, and up to so many messages, because the lease of the account must not end before.
_LIST_SECONDS, _MOST_LISTED = 60.0, 50_000
_LIST = f"changeType=created&$select=id,receivedDateTime&$expand={_SIZE}"


@dataclass(frozen=True)
class _Listed:
    received: str
    #: None: the list did not contain it.
    size: int | None


class GraphMailbox:
    """A folder. An immutable ID identifies one message in it, also after the message was moved to another folder.

    The first list has all messages; a list that is requested with the delta link of an earlier one has only what has
    arrived since then (``lists_all``).
    """

    #: Constant: a mailbox that is created anew has other message IDs.
    generation = "graph"
    removes_at_end = False
    is_pipelining = True
    #: Four requests at once fill a line without a window that grows with the round trip.
    round_trip = 0.0

    def __init__(self, graph: Graph, folder: str, delta_link: str) -> None:
        self._graph = graph
        #: Messages that were listed, but do not exist any more.
        self.missing: set[str] = set()
        self.lists_all = not delta_link
        self.delta_link = delta_link
        self._is_complete = False
        try:
            self._listed = self._list(delta_link or self._first_link(folder))
        except (LinkExpired, NotThere):
            # A folder that was deleted and created anew makes the link unusable as well.
            if not delta_link:
                raise
            self.lists_all = True
            self._listed = self._list(self._first_link(folder))
        self._is_taken = False
        self.lists_all = self.lists_all and self._is_complete

    def _first_link(self, folder: str) -> str:
        return f"/mailFolders/{graph_folders.key(self._graph, folder)}/messages/delta?{_LIST}"

    def _list(self, start: str) -> dict[str, _Listed]:
        """Request the list, for a limited time; the next session continues it at its last link."""
        found: dict[str, _Listed] = {}
        ends_at = time.monotonic() + _LIST_SECONDS
        for page in self._graph.pages(start):
            for entry in entries(page):
                if "@removed" not in entry:
                    found[entry["id"]] = _Listed(str(entry.get("receivedDateTime", "")), _size(entry))
            self._is_complete = bool(link(page, "@odata.deltaLink"))
            self.delta_link = link(page, "@odata.deltaLink") or link(page, "@odata.nextLink")
            if time.monotonic() > ends_at or len(found) >= _MOST_LISTED:
                break
        if not self.delta_link:
            raise Unavailable(f"{self._graph.host} answered a list without its end.")
        return found

    @property
    def folders(self) -> Self:
        return self

    @property
    def secured_by(self) -> str:
        return self._graph.secured_by

    @property
    def state(self) -> str:
        """The same after every fetch, because the list has what arrived since; empty while that is not fetched."""
        is_open = self._listed and not self._is_taken
        return "nothing new" if self._is_complete and not is_open else ""

    def shut_down(self) -> None:
        self._graph.stop()

    def uids(self) -> list[str]:
        """The immutable IDs of the listed messages, oldest first."""
        self._is_taken = True
        return sorted(self._listed, key=lambda uid: self._listed[uid].received)

    def marked_as_deleted(self) -> list[str]:
        """None: Graph has no such mark."""
        return []

    def sizes(self, uids: list[str]) -> Callable[[], dict[str, int]]:
        """Request sizes in bytes, about; without messages that do not exist any more."""
        known = {uid: listed.size for uid, listed in self._listed.items() if listed.size is not None}
        asked = {uid: self._graph.start(self._size_of, uid) for uid in uids if uid not in known}

        def read() -> dict[str, int]:
            found = {uid: self._unless_missing(uid, asked[uid]) if uid in asked else known[uid] for uid in uids}
            return {uid: size for uid, size in found.items() if size is not None}

        return read

    def _size_of(self, uid: str) -> int:
        with _about_one_message():
            found = _size(self._graph.facts("GET", f"{_path(uid)}?$select=id&$expand={_SIZE}"))
        return _UNKNOWN_SIZE if found is None else found

    def _unless_missing(self, uid: str, asked: "Future[int]") -> int | None:
        try:
            return asked.result()
        except NotThere:
            self.missing.add(uid)
            return None
        except Refused:
            # The request for its content says what is wrong with the message.
            return _UNKNOWN_SIZE

    def fetch(self, sizes: dict[str, int]) -> Callable[[], dict[str, bytes | Refused]]:
        """Request small messages, without those that do not exist any more."""
        asked = {uid: self._graph.start(self._content, uid, size) for uid, size in sizes.items()}

        def read() -> dict[str, bytes | Refused]:
            found: dict[str, bytes | Refused] = {}
            for uid, future in asked.items():
                try:
                    found[uid] = future.result()
                except NotThere:
                    self.missing.add(uid)
                except Refused as error:
                    found[uid] = error
            return found

        return read

    def _content(self, uid: str, size: int) -> bytes:
        with BytesIO() as file:
            self._write(uid, size, file)
            return file.getvalue()

    def _write(self, uid: str, size: int, file: BinaryIO) -> None:
        with _about_one_message():
            self._graph.send("GET", f"{_path(uid)}/$value", into=file, expected=size)
            if not file.tell():
                raise Refused("The server lists the message but returned no content.")

    def download(self, uid: str, size: int, file: BinaryIO) -> Callable[[], bool]:
        """Request the message into ``file``; False: it does not exist any more."""
        return self._finished(uid, self._graph.start(self._write, uid, size, file))

    def header(self, uid: str, file: BinaryIO) -> Callable[[], bool]:
        """Request the header fields into ``file``; False: the message does not exist any more."""
        return self._finished(uid, self._graph.start(self._write_header, uid, file))

    def _write_header(self, uid: str, file: BinaryIO) -> None:
        with _about_one_message():
            found = self._graph.facts("GET", f"{_path(uid)}?$select=internetMessageHeaders")
        fields = [f"{one.get('name')}: {one.get('value')}" for one in objects(found.get("internetMessageHeaders"))]
        lines = [f"{' '.join(field.splitlines())}\r\n" for field in fields]
        file.write(f"{''.join(lines)}\r\n".encode("utf-8", "replace"))

    def _finished(self, uid: str, future: "Future[None]") -> Callable[[], bool]:
        def read() -> bool:
            try:
                future.result()
            except NotThere:
                self.missing.add(uid)
                return False
            return True

        return read

    def remove(self, uids: list[str]) -> None:
        """Move exactly these messages to Deleted Items (https://learn.microsoft.com/graph/api/message-delete)."""
        self._for_each(uids, lambda uid: self._graph.send("DELETE", _path(uid)))

    def mark_read(self, uids: list[str]) -> None:
        self._for_each(uids, lambda uid: self._graph.facts("PATCH", _path(uid), {"isRead": True}))

    def move(self, uids: list[str], folder: str) -> None:
        """Move exactly these messages to a folder, created if missing."""
        to = {"destinationId": graph_folders.made(self._graph, folder)} if uids else {}
        self._for_each(uids, lambda uid: self._graph.facts("POST", f"{_path(uid)}/move", to))

    def _for_each(self, uids: list[str], act: Callable[[str], object]) -> None:
        """Four at a time; a message that does not exist any more needs no action."""
        for future in [self._graph.start(act, uid) for uid in uids]:
            with suppress(NotThere), _about_all_messages():
                future.result()


def _path(uid: str) -> str:
    return f"/messages/{quote(uid, safe='')}"


def _size(entry: dict[str, Any]) -> int | None:
    values = [str(one.get("value")) for one in objects(entry.get("singleValueExtendedProperties"))]
    return next((int(value) for value in values if re.fullmatch("[0-9]{1,15}", value)), None)


@contextmanager
def _about_one_message() -> Iterator[None]:
    """A fault of the server becomes Refused for this message, a refusal of the token Unavailable for the session."""
    try:
        yield
    except AccessRefused as error:
        raise Unavailable(str(error), error.answer) from error
    except (ServerError, TooLong) as error:
        raise Refused(str(error), error.answer) from error


@contextmanager
def _about_all_messages() -> Iterator[None]:
    """A refusal of an action on many messages concerns no single one of them."""
    try:
        yield
    except NotThere:
        raise
    except Refused as error:
        raise Unavailable(str(error), error.answer) from error


@contextmanager
def mailbox(at: Server, credential: Credential, folder: str, delta_link: str) -> Iterator[GraphMailbox]:
    """Open the folder of a mailbox and request its list. Refused: the token, the mailbox or the folder."""
    with opened(at, credential) as graph:
        yield GraphMailbox(graph, folder, delta_link)
