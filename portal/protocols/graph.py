"""Requests to Microsoft Graph for one mailbox: sign-in by token, several at once, throttling, errors as sentences.

https://learn.microsoft.com/graph/errors, https://learn.microsoft.com/graph/throttling
"""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from portal.core.errors import Answer, Refused, Unavailable
from portal.protocols.http import Request
from portal.protocols.https_connection import HttpsConnection, Response
from portal.protocols.sasl import Credential
from portal.protocols.server import Server
from portal.protocols.token_responses import one_line

#: Requests at once for one mailbox; Microsoft answers more with MailboxConcurrency.
AT_ONCE = 4
#: A pause that the server requests is made up to this length in seconds; a longer one ends the session.
_LONGEST_PAUSE = 20
_TRIES = 4
#: Seconds of all pauses in one session; the lease of a mail account must not end during an action on many messages.
_PAUSES = 60
#: A list of more pages does not end.
_MOST_PAGES = 500
#: Seconds, if the server is busy but requests no pause.
_USUAL_PAUSE = 5
_LONGEST_LINK = 8_000
Done = TypeVar("Done")


class NotThere(Refused):
    """The message or folder does not exist."""


class AccessRefused(Refused):
    """The token, its permissions or the mailbox: no error of a single message."""


class ServerError(Unavailable):
    """HTTP 500: a fault of the server, which one message can cause."""


class LinkExpired(Refused):
    """A delta link is no longer known to the server: the list has to be requested anew."""


@contextmanager
def opened(at: Server, credential: Credential) -> "Iterator[Graph]":
    """Requests for the mailbox that ``login`` names. Nothing is sent yet."""
    graph = Graph(at, credential)
    try:
        yield graph
    finally:
        graph.close()


class Graph:
    """The requests for one mailbox. Methods are safe to call from several threads."""

    def __init__(self, at: Server, credential: Credential) -> None:
        assert credential.token is not None
        self.host, self._at, self._token = at.host, at, credential.token
        self._origin = f"https://{at.host}" if at.port == 443 else f"https://{at.host}:{at.port}"
        self._root = f"{self._origin}/v1.0/users/{quote(credential.login, safe='')}"
        self._idle: SimpleQueue[HttpsConnection] = SimpleQueue()
        self._connections: list[HttpsConnection] = []
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._stopped = Event()
        self._paused = 0

    @property
    def secured_by(self) -> str:
        return self._connections[0].secured_by if self._connections else "TLS"

    def start(self, act: Callable[..., Done], *arguments: Any) -> "Future[Done]":
        """Call ``act`` in one of the threads of this mailbox."""
        return self._threads.submit(act, *arguments)

    def stop(self) -> None:
        """End all requests, also those that wait in other threads."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in self._connections:
            if connection.sock:
                connection.sock.shut_down()

    def close(self) -> None:
        self.stop()
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def facts(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request and return the JSON object of its response. Raises as ``send``."""
        content = b"" if body is None else json.dumps(body).encode()
        return self.send(method, path, content).facts()

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """The pages of a list, by ``@odata.nextLink``."""
        following, count = path, 0
        while following:
            if count == _MOST_PAGES:
                raise Unavailable(f"{self.host} answered a list that does not end.")
            page, count = self.facts("GET", following), count + 1
            yield page
            following = link(page, "@odata.nextLink")

    def send(
        self, method: str, path: str, body: bytes = b"", *, into: BinaryIO | None = None, expected: int = 0
    ) -> Response:
        """Send a request to ``path`` of the mailbox, or to a link that the server gave; repeated when it is throttled.

        Refused: the server rejects the request (AccessRefused, NotThere, LinkExpired, or for another reason).
        Unavailable: try later (ServerError, or for another reason).
        """
        wanted = self._request(method, path, body, "application/json")
        for tries in range(_TRIES):
            if into:
                into.seek(0)
                into.truncate()
            try:
                return self._exchange(wanted, into, expected)
            except Unavailable as error:
                pause = error.retry_after
                if pause is None or pause > _LONGEST_PAUSE or tries + 1 == _TRIES or self._paused > _PAUSES:
                    raise
                self._paused += pause
                if self._stopped.wait(pause):
                    raise
        raise AssertionError

    def post_once(self, path: str, body: bytes, kind: str) -> Response:
        """Send a request once, also if it is throttled. Raises as ``send``; NotSent if there is no connection."""
        return self._exchange(self._request("POST", path, body, kind))

    def _request(self, method: str, path: str, body: bytes, kind: str) -> Request:
        headers = {"Authorization": f"Bearer {self._token.reveal()}", "Prefer": _PREFER, "Accept": "application/json"}
        if body:
            headers["Content-Type"] = kind
        return Request(method, self._url(path), headers, body)

    def _exchange(self, wanted: Request, into: BinaryIO | None = None, expected: int = 0) -> Response:
        with self._connection() as connection:
            response = connection.exchange(wanted, into=into, expected=expected)
        if not response.is_good:
            raise _error(self.host, response)
        return response

    def _url(self, path: str) -> str:
        if "://" not in path:
            return f"{self._root}{path}"
        # The token must not be sent to another host.
        if not path.startswith(f"{self._origin}/"):
            raise Unavailable(f"{self.host} answered a link to another server.")
        return path

    @contextmanager
    def _connection(self) -> Iterator[HttpsConnection]:
        if self._stopped.is_set():
            raise Unavailable(f"The requests to {self.host} were stopped.")
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = HttpsConnection(self._at)
            self._connections.append(connection)
        try:
            yield connection
        finally:
            self._idle.put(connection)


_KINDS: dict[int, type[Refused]] = {401: AccessRefused, 403: AccessRefused, 404: AccessRefused, 410: LinkExpired}
#: Codes of 404 about one item; the others concern the mailbox.
_ITEM_NOT_THERE = ("ErrorItemNotFound", "ErrorFolderNotFound")
_EXPIRED = ("resyncrequired", "syncstatenotfound", "syncstateinvalid")
#: Immutable IDs stay the same when a message is moved within its mailbox.
_PREFER = 'IdType="ImmutableId", odata.maxpagesize=200'


def _error(host: str, response: Response) -> Refused | Unavailable:
    """The error of a response that is not good."""
    answer = answer_of(response.status, response.facts(), response.headers.get("request-id", ""))
    said = f"{host} answered {response.status} {answer}"
    if response.status in (429, 502, 503, 504):
        return Unavailable(said, answer, _pause(response.headers.get("Retry-After", "")))
    if response.status >= 500:
        return ServerError(said, answer)
    if answer.error.lower() in _EXPIRED:
        return LinkExpired(said, answer)
    if answer.error in _ITEM_NOT_THERE:
        return NotThere(said, answer)
    return _KINDS.get(response.status, Refused)(said, answer)


def answer_of(status: int, body: dict[str, Any], trace: str) -> Answer:
    """The error in the body of a response; ``trace``: the request ID of its header, if the body has none."""
    found = body.get("error")
    error = found if isinstance(found, dict) else {}
    code, text = one_line(error.get("code"))[:100] or f"HTTP {status}", one_line(error.get("message"))[:300]
    inner = error.get("innerError")
    return Answer(code, text, trace=one_line(inner.get("request-id") if isinstance(inner, dict) else trace)[:100])


def _pause(text: str) -> int:
    """The seconds of Retry-After, up to a day."""
    return min(int(text), 86_400) if re.fullmatch(r"[0-9]{1,9}", text) else _USUAL_PAUSE


def link(page: dict[str, Any], name: str) -> str:
    """A link of a list; empty: there is none."""
    found = page.get(name)
    return found if isinstance(found, str) and len(found) <= _LONGEST_LINK and found.isascii() else ""


def entries(page: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a page that have an ID."""
    return [entry for entry in objects(page.get("value")) if is_id(entry.get("id"))]


def objects(value: object) -> list[dict[str, Any]]:
    """The JSON objects of a list; empty if the value is something else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 300 and value.isascii() and value.isprintable()
