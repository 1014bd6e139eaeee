"""Protocol-conforming IMAP and POP3 servers with some responses replaced by a script."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.sandbox import certificates
from portal.sandbox.mail_servers import TlsServer
from tests.fakes.meddler import PlainServer

#: Google and Microsoft send the reason as a challenge before the rejection.
CHALLENGE = base64.b64encode(b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}').decode()
#: Scripted responses by command; ``greeting`` is the first response. None: close the connection instead.
Script = dict[str, str | None]


class _Lines(socketserver.StreamRequestHandler):
    timeout = 20
    script: Script = {}

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def hear(self) -> str:
        return self.rfile.readline(65536).decode("utf-8", "replace").rstrip("\r\n")


class Imap(_Lines):
    def handle(self) -> None:
        self.say(self.script.get("greeting") or "* OK ready")
        while line := self.hear():
            tag, _, rest = line.partition(" ")
            name = rest.removeprefix("UID ").split(" ")[0].upper()
            if name == "AUTHENTICATE" and " " not in rest.removeprefix("AUTHENTICATE "):
                self.say("+ ")
                self.hear()
            answer = self.script.get(name, "OK done")
            if answer is None:
                return
            self._before(name, answer)
            self.say(f"{tag} {answer}" if not answer.startswith("*") else answer)
            if name == "LOGOUT" or answer.startswith("* BYE"):
                return

    def _before(self, name: str, answer: str) -> None:
        offered = self.script.get("capabilities") or "AUTH=XOAUTH2 SASL-IR"
        lines = {"CAPABILITY": [f"* CAPABILITY IMAP4rev1 {offered}"], "LIST": ['* LIST () "/" INBOX'],
                 "SELECT": ["* 0 EXISTS", "* OK [UIDVALIDITY 1] valid"], "SEARCH": ["* SEARCH"], "LOGOUT": ["* BYE"]}  # fmt: skip
        if name == "AUTHENTICATE" and "(Failure)" in answer:
            self.say(f"+ {CHALLENGE}")
            self.hear()
        for line in lines.get(name, []) if answer.startswith("OK") else []:
            self.say(line)


class Pop3(_Lines):
    def handle(self) -> None:
        self.say(self.script.get("greeting") or "+OK ready")
        while line := self.hear():
            name = line.split(" ")[0].upper()
            if name == "AUTH" and len(line.split(" ")) == 2:
                self.say("+ ")
                self.hear()
            answer = self.script.get(name, "+OK")
            if answer is None:
                return
            self.say(answer)
            more = {"CAPA": [f"SASL {self.script.get('capabilities') or 'XOAUTH2'}"], "UIDL": [], "LIST": []}
            for part in [*more[name], "."] if name in more and answer.startswith("+OK") else []:
                self.say(part)
            if name == "QUIT":
                return


@contextmanager
def scripted(handler: type[_Lines], script: Script, folder: Path | None) -> Iterator[int]:
    """Run a server during the block, over TLS with the certificates in ``folder``; None: without TLS."""
    kind = type("Scripted", (handler,), {"script": script})
    server: socketserver.ThreadingTCPServer
    if folder:
        context: ssl.SSLContext = certificates.server_context(folder)
        server = TlsServer(0, kind, context)
    else:
        server = PlainServer(kind)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
