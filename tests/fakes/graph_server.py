"""Microsoft Graph's mail API over TLS, as Microsoft documents it, with faults that a test switches on.

https://learn.microsoft.com/graph/api/message-delta (pages, links), /graph/outlook-immutable-id (IDs),
/graph/outlook-get-mime-message (MIME), /graph/api/message-move, /graph/api/message-delete,
/graph/api/user-sendmail (202), /graph/throttling (429), /graph/errors
"""

import base64
import email
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import getaddresses
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from portal.sandbox import certificates
from portal.sandbox.mail_servers import TlsServer
from tests.builders import ACCESS_TOKEN

USER = "helpdesk@sandbox.test"
#: A request of sendMail may be 4 MB.
_LARGEST_REQUEST = 4 * 1024 * 1024
_WELL_KNOWN = {"inbox": "Posteingang", "deleteditems": "Gelöschte Elemente", "sentitems": "Gesendete Elemente"}


@dataclass
class Mail:
    number: int
    content: bytes
    folder: str
    is_read: bool = False
    #: Position in the order of arrivals in its folder.
    arrived: int = 0
    moves: int = 0

    def id(self, *, immutable: bool) -> str:
        """Case-sensitive; the usual ID changes with the folder, the immutable one does not."""
        name = f"Immutable-{self.number}" if immutable else f"{self.folder}-{self.number}-{self.moves}"
        return base64.urlsafe_b64encode(name.encode()).decode().swapcase()


@dataclass
class Failure:
    """The next ``times`` requests whose method and path contain ``at`` get this error."""

    at: str
    status: int
    code: str
    message: str = "said by the test"
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class Answer(Exception):
    def __init__(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    inner = {"date": "2026-11-21T12:00:00", "request-id": "11111111-2222-3333-4444-555555555555"}
    return Answer(status, {"error": {"code": code, "message": message, "innerError": inner}}, headers)


class GraphServer:
    """One mailbox. A test looks into ``mails``, ``sent`` and ``requests``, and adds ``failures``."""

    def __init__(self, certificates_in: Path) -> None:
        #: By immutable ID.
        self.mails: dict[str, Mail] = {}
        self.folders: dict[str, tuple[str, str]] = {key: ("root", name) for key, name in _WELL_KNOWN.items()}
        self.tokens = {ACCESS_TOKEN}
        self.sent: list[bytes] = []
        self.requests: list[str] = []
        self.failures: list[Failure] = []
        self.lock = threading.RLock()
        self.at_once, self.most_at_once = Counter[str](), 0
        #: Delta links of an earlier number are answered with 410.
        self.oldest_link = 0
        self.has_sizes_in_lists = True
        self.seconds_per_response = 0.0
        #: Number of contents of messages that end in the middle.
        self.cuts = 0
        #: Number of requests that are processed without a response.
        self.cuts_responses = 0
        self.closes_after_each = False
        #: Announces the end of the connection with each response.
        self.says_close = False
        #: Replaces each page of a list.
        self.lists: object = None
        #: Changes the response of a message's content.
        self.rendered: Callable[[Mail, bytes], bytes] = lambda mail, content: content
        self._numbers, self._arrivals, self._renderings = count(1), count(1), count(1)
        self._dice = random.Random(15)
        handler = type("Handler", (_Handler,), {"graph": self})
        self._server = TlsServer(0, handler, certificates.server_context(certificates_in))
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def receives(self, *messages: bytes, folder: str = "inbox") -> None:
        with self.lock:
            for content in messages:
                mail = Mail(next(self._numbers), content, folder, arrived=next(self._arrivals))
                self.mails[mail.id(immutable=True)] = mail

    def holds(self, folder: str = "inbox") -> list[bytes]:
        return [mail.content for mail in self.mails.values() if mail.folder == folder]

    def add_folder(self, name: str, parent: str = "root") -> str:
        key = f"Folder{len(self.folders)}-{name}"
        self.folders[key] = (parent, name)
        return key

    def fails(self, at: str, status: int, code: str, message: str = "said by the test", **more: Any) -> None:
        self.failures.append(Failure(at, status, code, message, **more))

    def forget_links(self) -> None:
        self.oldest_link = next(self._arrivals)

    def answer(self, request: "_Handler", body: bytes) -> Answer:
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        with self.lock:
            self.requests.append(f"{request.command} {url.path}")
            self._fail(f"{request.command} {request.path}")
            self._authenticate(request, parts)
            is_immutable = 'idtype="immutableid"' in request.headers.get("Prefer", "").lower()
            view = _View(self, request, query, is_immutable)
            return self._route(request.command, parts[3:], view, body)

    def _fail(self, request: str) -> None:
        for failure in self.failures:
            if failure.at in request and failure.times:
                failure.times -= 1
                raise _error(failure.status, failure.code, failure.message, failure.headers)

    def _authenticate(self, request: "_Handler", parts: list[str]) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise _error(401, "InvalidAuthenticationToken", "Access token is empty.")
        if token not in self.tokens:
            raise _error(401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience.")
        if parts[:2] != ["v1.0", "users"]:
            raise _error(400, "BadRequest", "Resource not found for the segment.")
        if parts[2].lower() != USER:
            raise _error(404, "ErrorInvalidUser", f"The requested user '{parts[2]}' is invalid.")

    def _route(self, method: str, parts: list[str], view: "_View", body: bytes) -> Answer:
        match method, parts:
            case "GET", ["mailFolders", folder]:
                key = self._folder(folder)
                return Answer(200, {"id": key, "totalItemCount": len(self.holds(key))})
            case "GET", ["mailFolders", folder, "messages", "delta"]:
                return view.delta(self._folder(folder))
            case "GET", ["mailFolders", folder, "childFolders"]:
                return view.children(folder if folder == "msgfolderroot" else self._folder(folder))
            case "POST", ["mailFolders", folder, "childFolders"]:
                parent = "root" if folder == "msgfolderroot" else self._folder(folder)
                name = json.loads(body)["displayName"]
                return Answer(201, {"id": self.add_folder(name, parent), "displayName": name})
            case "GET", ["messages", uid]:
                return view.message(self._mail(uid, view))
            case "GET", ["messages", uid, "$value"]:
                return view.mime(self._mail(uid, view), next(self._renderings))
            case "PATCH", ["messages", uid]:
                mail = self._mail(uid, view)
                mail.is_read = json.loads(body).get("isRead", mail.is_read)
                return view.message(mail)
            case "DELETE", ["messages", uid]:
                self._move(self._mail(uid, view), "deleteditems")
                return Answer(204)
            case "POST", ["messages", uid, "permanentDelete"]:
                self.mails.pop(self._mail(uid, view).id(immutable=True))
                return Answer(204)
            case "POST", ["messages", uid, "move"]:
                mail = self._mail(uid, view)
                self._move(mail, self._folder(json.loads(body)["destinationId"]))
                return Answer(201, view.entry(mail))
            case "POST", ["sendMail"]:
                return self._send(view.request.headers.get("Content-Type", ""), body)
        raise _error(400, "BadRequest", f"Resource not found for the segment {'/'.join(parts)!r}.")

    def _folder(self, key: str) -> str:
        if key in self.folders:
            return key
        raise _error(404, "ErrorItemNotFound", "The specified object was not found in the store.")

    def _mail(self, uid: str, view: "_View") -> Mail:
        there = self.mails if view.is_immutable else {mail.id(immutable=False): mail for mail in self.mails.values()}
        if uid in there:
            return there[uid]
        raise _error(404, "ErrorItemNotFound", "The specified object was not found in the store.")

    def _move(self, mail: Mail, folder: str) -> None:
        mail.folder, mail.arrived, mail.moves = folder, next(self._arrivals), mail.moves + 1

    def _send(self, kind: str, body: bytes) -> Answer:
        if len(body) > _LARGEST_REQUEST:
            # Not 413: https://github.com/microsoftgraph/microsoft-graph-docs-contrib/issues/9152
            return Answer(200)
        if kind != "text/plain":
            raise _error(400, "ErrorMimeContentInvalid", "Invalid content type.")
        try:
            content = base64.b64decode(body, validate=True)
        except ValueError as error:
            raise _error(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string.") from error
        if USER not in str(email.message_from_bytes(content)["From"]).lower():
            raise _error(403, "ErrorSendAsDenied", "The user account does not have the right to send as the sender.")
        found = email.message_from_bytes(content)
        to = [address for name in ("To", "Cc", "Bcc") for _, address in getaddresses(found.get_all(name, []))]
        if not to:
            raise _error(400, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
        self.sent.append(content)
        return Answer(202)


@dataclass
class _View:
    """The mailbox as one request sees it."""

    graph: GraphServer
    request: "_Handler"
    query: dict[str, str]
    is_immutable: bool

    def entry(self, mail: Mail, *, with_size: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {
            "@odata.etag": f'W/"{mail.moves}"',
            "id": mail.id(immutable=self.is_immutable),
            "receivedDateTime": f"2026-11-21T{mail.number // 3600 % 24:02}:{mail.number // 60 % 60:02}:{mail.number % 60:02}Z",
        }
        if with_size and "0x0E08" in self.query.get("$expand", ""):
            # All properties of the message, not only its text.
            size = str(len(mail.content) + 700)
            found["singleValueExtendedProperties"] = [{"id": "Long 0xe08", "value": size}]
        return found

    def message(self, mail: Mail) -> Answer:
        parsed = email.message_from_bytes(mail.content)
        headers = [{"name": name, "value": str(value)} for name, value in parsed.items()]
        asked = {"internetMessageHeaders": headers} if "internetMessageHeaders" in self.query.get("$select", "") else {}
        return Answer(200, self.entry(mail) | asked)

    def mime(self, mail: Mail, number: int) -> Answer:
        """Rendered anew for each request."""
        content = f"X-Rendered: {number}\r\n".encode() + mail.content
        return Answer(200, self.graph.rendered(mail, content), {"Content-Type": "text/plain"})

    def children(self, folder: str) -> Answer:
        parent = "root" if folder == "msgfolderroot" else folder
        parents = [above for above, _ in self.graph.folders.values()]
        value = [
            {"id": key, "displayName": name, "childFolderCount": parents.count(key)}
            for key, (above, name) in self.graph.folders.items()
            if above == parent
        ]
        at = int(self.query.get("$skip", "0"))
        page: dict[str, Any] = {"value": value[at : at + 10]}
        if at + 10 < len(value):
            page["@odata.nextLink"] = f"{self._origin}{urlsplit(self.request.path).path}?$skip={at + 10}"
        return Answer(200, page)

    def delta(self, folder: str) -> Answer:
        """One page; the tokens of the links hold where the list began, where it ends, and which page follows."""
        if self.graph.lists is not None:
            return Answer(200, self.graph.lists)
        newest = max((mail.arrived for mail in self.graph.mails.values()), default=0)
        since, until, at = self._position(newest)
        there = [mail for mail in self.graph.mails.values() if mail.folder == folder and since < mail.arrived <= until]
        # The order is not guaranteed.
        random.Random(until).shuffle(there)
        most = self._page_size()
        with_size = self.graph.has_sizes_in_lists
        page: dict[str, Any] = {"value": [self.entry(mail, with_size=with_size) for mail in there[at : at + most]]}
        is_last = at + most >= len(there)
        token = f"$deltatoken={until}" if is_last else f"$skiptoken={since}.{until}.{at + most}"
        # The links keep the query of the first request.
        kept = {key: value for key, value in self.query.items() if key not in ("$deltatoken", "$skiptoken")}
        asked = "".join(f"&{key}={quote(value)}" for key, value in kept.items())
        link = f"{self._origin}{urlsplit(self.request.path).path}?{token}{asked}"
        page["@odata.deltaLink" if is_last else "@odata.nextLink"] = link
        return Answer(200, page)

    def _position(self, newest: int) -> tuple[int, int, int]:
        if "$skiptoken" in self.query:
            since, until, at = map(int, self.query["$skiptoken"].split("."))
            return since, until, at
        since = int(self.query.get("$deltatoken", "0"))
        if "$deltatoken" in self.query and since < self.graph.oldest_link:
            raise _error(410, "SyncStateNotFound", "The sync state is not found; resyncRequired.")
        return since, newest, 0

    def _page_size(self) -> int:
        for preference in self.request.headers.get("Prefer", "").split(","):
            name, _, value = preference.strip().partition("=")
            if name.lower() == "odata.maxpagesize":
                return int(value)
        return 10

    @property
    def _origin(self) -> str:
        return f"https://{self.request.headers['Host']}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    graph: GraphServer

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        graph = self.graph
        with graph.lock:
            graph.at_once[USER] += 1
            graph.most_at_once = max(graph.most_at_once, graph.at_once[USER])
            is_too_many = graph.at_once[USER] > 4
        try:
            if is_too_many:
                text = "Application is over its MailboxConcurrency limit."
                raise _error(429, "ApplicationThrottled", text, {"Retry-After": "1"})
            time.sleep(graph.seconds_per_response)
            answer = graph.answer(self, body)
        except Answer as error:
            answer = error
        finally:
            # Before the response: the client sends its next request when it has that.
            with graph.lock:
                graph.at_once[USER] -= 1
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.close_connection |= self.graph.closes_after_each
        if self.graph.says_close:
            answer.headers["Connection"] = "close"
        if self.graph.cuts_responses:
            self.graph.cuts_responses -= 1
            self.close_connection = True
            return
        content = answer.body if isinstance(answer.body, bytes) else b""
        if answer.body is not None and not isinstance(answer.body, bytes):
            content = json.dumps(answer.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))} | answer.headers
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(answer.body, bytes) and self.graph.cuts:
            self.graph.cuts -= 1
            content, self.close_connection = content[:-5], True
        cast(Any, self.wfile).write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _respond  # noqa: N815 - the names of the base class

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests quiet."""
