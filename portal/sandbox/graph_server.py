"""The sandbox's part of Microsoft Graph: an inbox with delta lists, MIME content, deletion and sendMail."""

import base64
import email
import json
from email.utils import getaddresses
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from portal.sandbox import store
from portal.sandbox.store import Entry

_PAGE = 200


class _Answer(Exception):
    """The response to a request: a status and a body."""

    def __init__(self, status: int, body: object = None) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def _error(status: int, code: str, message: str) -> _Answer:
    return _Answer(status, {"error": {"code": code, "message": message}})


class GraphHandler(BaseHTTPRequestHandler):
    """Requests for ``/v1.0/users/{mailbox}/…``; a message ID is its UID, which never changes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with store.database.connection_context():
            try:
                answer = self._answer(body)
            except _Answer as refusal:
                answer = refusal
        self._send(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = _respond  # noqa: N815 - the names of the base class

    def _send(self, answer: _Answer) -> None:
        content = answer.body if isinstance(answer.body, bytes) else b""
        if answer.body is not None and not isinstance(answer.body, bytes):
            content = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer.body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body: bytes) -> _Answer:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        user = store.user_of(self.headers.get("Authorization", "").removeprefix("Bearer ")) or ""
        if not user:
            raise _error(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
        if parts[:2] != ["v1.0", "users"] or parts[2].lower() != user:
            raise _error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
        match self.command, parts[3:]:
            case "GET", ["mailFolders", "inbox"]:
                return _Answer(200, {"id": "inbox", "totalItemCount": len(store.entries_of(user))})
            case "GET", ["mailFolders", "msgfolderroot", "childFolders"]:
                inbox = {"id": "inbox", "displayName": "Inbox", "childFolderCount": 0}
                return _Answer(200, {"value": [inbox]})
            case "GET", ["mailFolders", "inbox", "messages", "delta"]:
                return self._delta(user)
            case "GET", ["messages", uid, "$value"]:
                return _Answer(200, store.content(user, _entry(user, uid).uid))
            case "GET" | "PATCH", ["messages", uid]:
                return _Answer(200, _listed(_entry(user, uid)))
            case "DELETE", ["messages", uid]:
                store.remove_mail(user, [_entry(user, uid).uid])
                return _Answer(204)
            case "POST", ["sendMail"]:
                return _sent(base64.b64decode(body))
        raise _error(400, "BadRequest", "The sandbox does not know this request.")

    def _delta(self, user: str) -> _Answer:
        """One page of the messages with a UID above the token; the sandbox gives out UIDs in order."""
        path, _, query = self.path.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        after = int(asked.get("$deltatoken") or asked.get("$skiptoken") or 0)
        following = [entry for entry in store.entries_of(user) if entry.uid > after]
        shown, is_last = following[:_PAGE], len(following) <= _PAGE
        newest = store.next_uid(user) - 1 if is_last else shown[-1].uid
        link = f"https://{self.headers['Host']}{path}?{'$deltatoken' if is_last else '$skiptoken'}={newest}"
        page = {"value": [_listed(entry) for entry in shown]}
        return _Answer(200, {**page, "@odata.deltaLink" if is_last else "@odata.nextLink": link})

    def log_message(self, *_: object) -> None:
        """Log nothing: the sandbox is not of interest."""


def _entry(user: str, uid: str) -> Entry:
    for entry in store.entries_of(user):
        if str(entry.uid) == uid:
            return entry
    raise _error(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def _listed(entry: Entry) -> dict[str, Any]:
    size = [{"id": "Long 0xe08", "value": str(entry.size)}]
    return {"id": str(entry.uid), "receivedDateTime": f"{entry.uid:020}", "singleValueExtendedProperties": size}


def _sent(content: bytes) -> _Answer:
    """Deliver a message to the mailboxes of the sandbox."""
    head = email.message_from_bytes(content)
    to = [address.lower() for name in ("To", "Cc", "Bcc") for _, address in getaddresses(head.get_all(name, []))]
    if not to:
        raise _error(400, "ErrorInvalidRecipients", "At least one recipient is not valid.")
    for user in set(to) & set(store.USERS):
        store.add_mail(user, content)
    return _Answer(202)
