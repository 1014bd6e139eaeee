"""IMAP session: connect, start TLS, sign in; each error becomes one sentence."""

import re
import socket
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from imaplib import IMAP4
from typing import Any, cast

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import LoginError, ProtocolError
from imapclient.response_parser import parse_fetch_response
from typing_extensions import Buffer

from portal.core.errors import Answer, Refused, Unavailable
from portal.protocols import sasl, server
from portal.protocols.dialogue import Dialogue, masking
from portal.protocols.sasl import Credential
from portal.protocols.server import Plain, Secured, Security, Server, has_more, suggested_pause

#: The items of a FETCH response for one message, by name.
Items = dict[bytes, Any]
#: A range of UIDs takes few bytes, so the size limit of a response does not bound it.
_MOST_UIDS = 1_000_000


@contextmanager
def signed_in(at: Server, credential: Credential) -> "Iterator[Client]":
    with opened(at) as client:
        sign_in(client, at, credential)
        yield client


@contextmanager
def opened(at: Server, dialogue: Dialogue | None = None) -> "Iterator[Client]":
    """Connect, with TLS if configured; ``dialogue`` records the exchange."""
    with translated_errors(at.host):
        client = Client(at, dialogue)
    try:
        if at.security is Security.STARTTLS:
            with translated_errors(at.host):
                client.starttls(_Careful(client, at))
        yield client
    finally:
        _log_out(client)


class _Imap4(IMAP4):
    """imaplib over the portal's own connection; rejects literals above the size limit."""

    def __init__(self, at: Server, dialogue: Dialogue | None) -> None:
        self._at, self._dialogue = at, dialogue
        super().__init__(at.host, at.port)

    def send(self, data: Buffer) -> None:
        if self._dialogue:
            self._dialogue.client(bytes(data))
        super().send(data)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return server.connect(self._at)

    def _get_capabilities(self) -> None:
        """Take the capabilities from the greeting (RFC 3501 section 7.1); request them only if it has none."""
        greeted: Any = self.untagged_responses.pop("CAPABILITY", None)
        if greeted:
            self.capabilities = tuple(greeted[-1].decode("ascii", "replace").upper().split())
        else:
            super()._get_capabilities()  # type: ignore[misc]

    def authenticate(self, mechanism: str, authobject: Callable[[bytes], bytes | None]) -> Any:
        """Authenticate; with SASL-IR (RFC 4959) the first response is sent with the command."""
        if "SASL-IR" not in self.capabilities:
            return super().authenticate(mechanism, authobject)
        self._respond = authobject
        first = b64encode(authobject(b"") or b"").decode()
        # imaplib calls a method for each challenge that follows.
        self.literal = cast(Any, self._response)
        typ, data = cast(Any, self)._simple_command("AUTHENTICATE", mechanism.upper(), first or "=")
        if typ != "OK":
            raise self.error(data[-1].decode("utf-8", "replace"))
        self.state = "AUTH"
        return typ, data

    def _response(self, challenge: bytes) -> bytes:
        response = self._respond(b64decode(challenge))
        return b"*" if response is None else b64encode(response)

    def readline(self) -> bytes:
        """A line of any length up to the connection's limit: a SEARCH response lists all messages in one line."""
        # Python 3.14 renamed the reader.
        line = cast(bytes, (self._file if hasattr(self, "_file") else self.file).readline())
        if self._dialogue:
            self._dialogue.server(line)
        return line

    def read(self, size: int) -> bytes:
        assert isinstance(self.sock, Plain | Secured)
        if size > self.sock.bytes_left:
            raise OverflowError
        return super().read(size)


class Client(IMAPClient):  # type: ignore[misc]  # imapclient has no types
    """IMAPClient over the portal's own connection."""

    def __init__(self, at: Server, dialogue: Dialogue | None = None) -> None:
        self._at, self.dialogue = at, dialogue
        timeout = SocketTimeout(server.CONNECT_SECONDS, server.READ_SECONDS)
        super().__init__(at.host, at.port, ssl=at.security is Security.TLS, timeout=timeout)
        # IMAPClient turns on debug output, which formats every message and token even if it is not logged.
        self._imap.debug = 0

    def _create_IMAP4(self) -> IMAP4:  # noqa: N802 - its name there
        return _Imap4(self._at, self.dialogue)

    @property
    def connection(self) -> Plain | Secured:
        connection = self.socket()
        assert isinstance(connection, Plain | Secured)
        return connection

    def allow(self, size: int = 0) -> None:
        """Set the limits for the next response, of about ``size`` bytes."""
        self.connection.allow(size)

    def keep_capabilities(self) -> None:
        """Keep what the server announced with the sign-in, because SELECT discards it; nothing is requested."""
        if "CAPABILITY" in self._imap.untagged_responses:
            self.capabilities()

    def uids(self, criterion: str) -> list[int]:
        """The UIDs of the messages that match, ascending; requested as ranges (ESEARCH, RFC 4731) if possible."""
        if b"ESEARCH" not in (self._cached_capabilities or ()):
            return sorted(self.search([criterion]))
        found = self._raw_command_untagged(
            b"SEARCH", [b"RETURN", b"(ALL)", criterion.encode()], response_name="ESEARCH"
        )
        return sorted(_expanded(found[-1] or b""))

    def send_fetch(self, uids: list[int], item: str) -> bytes:
        """Send a UID FETCH without waiting for its response, and return its tag."""
        tag: bytes = self._imap._command("UID", "FETCH", ",".join(map(str, uids)), f"({item})")
        return tag

    def complete_fetch(self, tag: bytes) -> dict[int, Items]:
        """Wait for the completion of a command, and return what has arrived for any command, by UID.

        Raises IMAP4.error if the server refuses the command.
        """
        typ, data = self._imap._command_complete("FETCH", tag)
        self._checkok("fetch", typ, data)
        _, lines = self._imap._untagged_response("OK", [None], "FETCH")
        found: dict[int, Items] = parse_fetch_response(lines, uid_is_key=True)
        return found


def _expanded(response: bytes) -> list[int]:
    """The UIDs of an ESEARCH response such as ``(TAG "A1") UID ALL 1:17,21``; without ALL nothing matches."""
    ranges = re.search(rb" ALL ([0-9:,]+)", response)
    found: list[int] = []
    for part in ranges[1].split(b",") if ranges else ():
        first, _, last = part.partition(b":")
        low, high = sorted((int(first), int(last or first)))
        if len(found) + high - low >= _MOST_UIDS:
            raise ProtocolError(f"The response lists more than {_MOST_UIDS:,} messages.")
        found += range(low, high + 1)
    return found


class _Careful:
    """Replaces the SSL context of ``starttls``; refuses TLS if data arrived before the handshake."""

    def __init__(self, client: Client, at: Server) -> None:
        self._client, self._at = client, at

    def wrap_socket(self, plain: socket.socket, **options: Any) -> Secured:
        inner = self._client._imap
        # Python 3.14 renamed the reader.
        reader = inner._file if hasattr(inner, "_file") else inner.file
        if has_more(reader, plain):
            raise Unavailable(f"{self._at.host} or an attacker on the network sent data before TLS had begun.")
        return server.secure(plain, self._at)


def mechanisms(client: Client) -> list[str]:
    """The SASL mechanisms that the server offers (RFC 3501 section 6.2.2)."""
    with translated_errors(client.host):
        return [
            name.decode().upper().removeprefix("AUTH=") for name in client.capabilities() if name.startswith(b"AUTH=")
        ]


def sign_in(client: Client, at: Server, credential: Credential) -> None:
    """Sign in. Refused: the server rejected the sign-in."""
    hidden = client.dialogue or Dialogue()
    sasl.hide(credential, hidden, at.host, at.port)
    # A token refresh may have taken time since the last response, so the time limit starts again.
    client.allow()
    with masking(hidden), translated_errors(at.host):
        _sign_in(client, at, credential)
        client.keep_capabilities()


def _sign_in(client: Client, at: Server, credential: Credential) -> None:
    challenges: list[bytes] = []
    chosen = sasl.mechanism(credential, mechanisms(client))
    try:
        if chosen is None:
            _log_in(client, credential)
        else:
            client.sasl_login(chosen, _responses(chosen, credential, at, challenges))
    except LoginError as error:
        if isinstance(error.__context__, IMAP4.abort):
            raise error.__context__ from None
        reason = next((reason for challenge in challenges[1:] if (reason := sasl.reason(challenge))), "")
        answer = Answer(error=reason, description=one_line(error))
        raise Refused(f"The mail server refused the sign-in of {credential.login}: {answer}", answer) from None


def authorization_server(at: Server) -> str:
    """The discovery URL that the server names when it refuses OAUTHBEARER without a token (RFC 7628); empty: none."""
    challenges: list[bytes] = []

    def respond(challenge: bytes) -> bytes:
        challenges.append(challenge)
        return sasl.WITHOUT_TOKEN if len(challenges) == 1 else sasl.answer_to_refusal("OAUTHBEARER")

    with opened(at) as client, translated_errors(at.host):
        if "OAUTHBEARER" not in mechanisms(client):
            return ""
        with suppress(LoginError):
            client.sasl_login("OAUTHBEARER", respond)
    return next((url for challenge in challenges[1:] if (url := sasl.openid_configuration(challenge))), "")


def _log_in(client: Client, credential: Credential) -> None:
    """Sign in with LOGIN; used only if the server lacks PLAIN, because LOGIN is limited to ASCII."""
    assert credential.password is not None
    quoted = credential.login.replace("\\", "\\\\").replace('"', '\\"')
    client.login(f'"{quoted}"', credential.password.reveal())


def _responses(chosen: str, credential: Credential, at: Server, challenges: list[bytes]) -> Callable[[bytes], bytes]:
    """The first response is the credential. Later challenges carry an error and get the response that ends SASL."""
    first = sasl.first_response(chosen, credential, at.host, at.port)

    def respond(challenge: bytes) -> bytes:
        challenges.append(challenge)
        return first if len(challenges) == 1 else sasl.answer_to_refusal(chosen)

    return respond


def _log_out(client: Client) -> None:
    """Send LOGOUT and close the connection without a further round trip: all commands are answered by now."""
    with suppress(IMAP4.error, OSError, ValueError):
        client._imap._command("LOGOUT")
    with suppress(OSError):
        client.shutdown()


@contextmanager
def translated_errors(host: str) -> Iterator[None]:
    """Convert IMAP errors to Unavailable with one sentence."""
    with server.translated_errors(host):
        try:
            yield
        except IMAP4.abort as error:
            text = one_line(error)
            failure = f"The connection to {host} failed: {text}"
            raise Unavailable(failure, retry_after=suggested_pause(text)) from error
        except IMAP4.error as error:
            text = one_line(error)
            raise Unavailable(f"{host} answered: {text}", retry_after=suggested_pause(text)) from error
        except (ProtocolError, AssertionError) as error:
            raise Unavailable(f"{host} answered something that is not IMAP.") from error


def one_line(error: Exception) -> str:
    """The error as one line, without the failed command, because AUTHENTICATE contains the token."""
    # imaplib quotes the server's words as a list of bytes: BAD [b'Unknown command'].
    words = re.sub(r"\[b(['\"])(.*)\1\]", r"\2", str(error), flags=re.DOTALL)
    return " ".join(words.split())[:300]
