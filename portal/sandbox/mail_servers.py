"""The sandbox's IMAP and POP3 servers: the commands that a fetch needs, over TLS, with XOAUTH2 only."""

import base64
import binascii
import re
import select
import socketserver
import ssl
from collections.abc import Callable

from portal.sandbox import store
from portal.sandbox.addresses import HOST
from portal.sandbox.store import Entry, Mail

#: Seconds between two looks for new mail during IDLE.
_IDLE_LOOK = 1.0
_CHALLENGE = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"mail"}')


def xoauth2_user(blob: bytes) -> str | None:
    """Return the mailbox that an XOAUTH2 response opens; None if its token is not valid for the mailbox."""
    try:
        fields = base64.b64decode(blob, validate=True).decode().split("\x01")
    except (binascii.Error, UnicodeDecodeError):
        return None
    parts = dict(field.split("=", 1) for field in fields if "=" in field)
    user = store.user_of(parts.get("auth", "").removeprefix("Bearer "))
    return user if user and user == parts.get("user") else None


class TlsServer(socketserver.ThreadingTCPServer):
    """A TLS server with a thread per connection; the handshake runs there, so a silent client blocks no other."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, handler: type[socketserver.BaseRequestHandler], context: ssl.SSLContext) -> None:
        super().__init__((HOST, port), handler)
        self.context = context

    def finish_request(self, request: object, client_address: object) -> None:
        secured = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)  # type: ignore[arg-type]
        with secured:
            try:
                secured.do_handshake()
            except OSError:
                return
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection early."""


class _Lines(socketserver.StreamRequestHandler):
    timeout = 120
    disable_nagle_algorithm = True
    user: str | None = None

    def say(self, line: str | bytes) -> None:
        self.wfile.write((line.encode() if isinstance(line, str) else line) + b"\r\n")

    def hear(self) -> str | None:
        line = self.rfile.readline(65536)
        return line.rstrip(b"\r\n").decode("utf-8", "replace") if line else None

    def handle(self) -> None:
        with store.database.connection_context():
            self.talk()

    def talk(self) -> None:
        raise NotImplementedError


class No(Exception):
    """Answer the command with NO and this text."""


class ImapHandler(_Lines):
    """An IMAP session (RFC 3501 with SASL-IR and UIDPLUS) with one folder, INBOX."""

    def talk(self) -> None:
        self.say("* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS IDLE] Sandbox ready")
        while (line := self.hear()) is not None:
            tag, _, rest = line.partition(" ")
            name, _, arguments = rest.partition(" ")
            if name.upper() == "UID":
                name, _, arguments = arguments.partition(" ")
                name = f"UID {name}"
            if not self.answer(tag, name.upper(), arguments):
                return

    def answer(self, tag: str, name: str, arguments: str) -> bool:
        """Answer one command. Returns False after LOGOUT."""
        if name == "LOGOUT":
            self.say("* BYE Good bye")
            self.say(f"{tag} OK LOGOUT")
            return False
        commands: dict[str, Callable[[str], str | None]] = {"CAPABILITY": self.capability, "NOOP": lambda _: None}
        if self.user is None:
            commands["AUTHENTICATE"] = self.authenticate
        else:
            commands |= {
                "LIST": self.list_folders,
                "SELECT": self.select,
                "EXAMINE": self.select,
                "UID SEARCH": self.search,
                "UID FETCH": self.fetch,
                "UID STORE": self.mark,
                "UID EXPUNGE": self.expunge,
                "EXPUNGE": self.expunge,
                "CLOSE": lambda _: None,
                "IDLE": self.idle,
            }
        if name not in commands:
            self.say(f"{tag} BAD Unknown or not allowed now")
            return True
        try:
            problem = commands[name](arguments)
        except No as refusal:
            problem = str(refusal)
        self.say(f"{tag} NO {problem}" if problem else f"{tag} OK {name} completed")
        return True

    def capability(self, arguments: str) -> None:
        self.say("* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS IDLE")

    def authenticate(self, arguments: str) -> str | None:
        mechanism, _, blob = arguments.partition(" ")
        if mechanism.upper() != "XOAUTH2":
            return "Only XOAUTH2"
        if not blob:
            self.say("+ ")
            blob = self.hear() or ""
        self.user = xoauth2_user(blob.encode())
        if self.user is None:
            self.say(b"+ " + _CHALLENGE)
            self.hear()
            return "[AUTHENTICATIONFAILED] Invalid credentials"
        return None

    def list_folders(self, arguments: str) -> None:
        self.say('* LIST () "/" INBOX')

    def select(self, folder: str) -> str | None:
        if folder.strip('"').upper() != "INBOX":
            return "[NONEXISTENT] No such folder"
        self.say(f"* {len(self.entries())} EXISTS")
        self.say("* OK [UIDVALIDITY 1] UIDs valid")
        self.say(f"* OK [UIDNEXT {store.next_uid(self.mailbox)}] Next UID")
        self.say(r"* FLAGS (\Deleted)")
        return None

    def idle(self, arguments: str) -> None:
        """Report new mail until the client says DONE (RFC 2177)."""
        self.say("+ idling")
        known = store.next_uid(self.mailbox)
        while not select.select([self.request], [], [], _IDLE_LOOK)[0]:
            if (now := store.next_uid(self.mailbox)) != known:
                known = now
                self.say(f"* {len(self.entries())} EXISTS")
        self.hear()

    def entries(self) -> list[Entry]:
        return store.entries_of(self.mailbox)

    @property
    def mailbox(self) -> str:
        assert self.user is not None
        return self.user

    def search(self, arguments: str) -> None:
        deleted = arguments.strip().upper() == "DELETED"
        self.say("* SEARCH " + " ".join(str(entry.uid) for entry in self.entries() if entry.deleted == deleted))

    def fetch(self, arguments: str) -> None:
        uids, _, items = arguments.partition(" ")
        part = re.search(r"BODY\.PEEK\[(HEADER)?\](?:<(\d+)\.(\d+)>)?", items, re.IGNORECASE)
        for number, entry in enumerate(self.entries(), 1):
            if not _among(entry.uid, uids):
                continue
            if part is None:
                self.say(f"* {number} FETCH (UID {entry.uid} RFC822.SIZE {entry.size})")
                continue
            content, section = store.content(self.mailbox, entry.uid), part[1] or ""
            if section:
                content = _header(content)
            start, length = (int(part[2]), int(part[3])) if part[2] else (0, entry.size)
            cut, mark = content[start : start + length], f"<{start}>" if part[2] else ""
            head = f"* {number} FETCH (UID {entry.uid} BODY[{section}]{mark} {{{len(cut)}}}\r\n"
            self.wfile.write(head.encode() + cut + b")\r\n")

    def mark(self, arguments: str) -> None:
        uids = arguments.partition(" ")[0]
        store.mark_deleted(self.mailbox, [entry.uid for entry in self.entries() if _among(entry.uid, uids)])

    def expunge(self, arguments: str) -> None:
        gone = [
            entry.uid for entry in self.entries() if entry.deleted and (not arguments or _among(entry.uid, arguments))
        ]
        store.remove_mail(self.mailbox, gone)


def _header(content: bytes) -> bytes:
    """Return the header including the empty line."""
    head, empty, _ = content.partition(b"\r\n\r\n")
    return head + empty


def _among(uid: int, sequence: str) -> bool:
    """Return whether a sequence set such as ``1,4:7,9:*`` contains the UID."""
    for part in sequence.split(","):
        low, _, high = part.partition(":")
        if int(low) <= uid <= (uid if high == "*" else int(high or low)):
            return True
    return False


class Pop3Handler(_Lines):
    """A POP3 session (RFC 1939) with AUTH (RFC 5034): XOAUTH2 in one or two lines."""

    def talk(self) -> None:
        self.gone: set[int] = set()
        self.say("+OK Sandbox ready")
        while (line := self.hear()) is not None:
            name, _, argument = line.partition(" ")
            if name.upper() == "QUIT":
                self.quit()
                return
            self.answer(name.upper(), argument)

    def answer(self, name: str, argument: str) -> None:
        if name == "CAPA":
            self.say("+OK\r\nSASL XOAUTH2\r\nUIDL\r\nUSER\r\n.")
        elif name == "AUTH" and self.user is None:
            self.authenticate(argument)
        elif name in ("STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP") and self.user:
            self.transact(name, argument)
        else:
            self.say("-ERR Unknown or not allowed now")

    def authenticate(self, argument: str) -> None:
        mechanism, _, blob = argument.partition(" ")
        if mechanism.upper() != "XOAUTH2":
            self.say("-ERR Only XOAUTH2")
            return
        if not blob:
            self.say("+ ")
            blob = self.hear() or ""
        self.user = xoauth2_user(blob.encode())
        if self.user is None:
            self.say(b"+ " + _CHALLENGE)
            self.hear()
            self.say("-ERR Authentication failure")
            return
        self.mails = store.mail_of(self.user)
        self.say("+OK Signed in")

    def transact(self, name: str, argument: str) -> None:
        left = {number: mail for number, mail in enumerate(self.mails, 1) if number not in self.gone}
        if name == "NOOP":
            self.say("+OK")
        elif name == "STAT":
            self.say(f"+OK {len(left)} {sum(len(mail.content) for mail in left.values())}")
        elif name in ("LIST", "UIDL") and not argument:
            self.say("+OK")
            for number, mail in left.items():
                self.say(f"{number} {len(mail.content) if name == 'LIST' else f'{mail.uid}'}")
            self.say(".")
        elif name == "TOP":
            self.say("+OK")
            self.wfile.write(_header(bytes(left[int(argument.split(maxsplit=1)[0])].content)))
            self.say(".")
        elif not argument.isdigit() or int(argument) not in left:
            self.say("-ERR No such message")
        else:
            self.one(name, int(argument), left[int(argument)])

    def one(self, name: str, number: int, mail: Mail) -> None:
        if name == "RETR":
            self.say("+OK")
            self.wfile.write(re.sub(rb"(?m)^\.", b"..", bytes(mail.content)))
            self.say("." if bytes(mail.content).endswith(b"\n") else "\r\n.")
        elif name == "DELE":
            self.gone.add(number)
            self.say("+OK")
        else:
            self.say(f"+OK {number} {len(mail.content) if name == 'LIST' else mail.uid}")

    def quit(self) -> None:
        if self.user:
            store.remove_mail(self.user, [self.mails[number - 1].uid for number in self.gone])
        self.say("+OK Good bye")
