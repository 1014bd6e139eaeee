"""Opens the mailbox of a mail account: protocol, connection security and credential."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import BinaryIO, Protocol

from portal.causes import Where
from portal.core.clock import Clock
from portal.core.errors import Refused
from portal.models import AccountType, MailAccount, Token
from portal.protocols import graph_mailbox, imap, pop3
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from portal.system import settings
from portal.tokens import retry_with_new_token

#: Minimum remaining lifetime of a token at sign-in; most servers keep a session open after its token expires.
TOKEN_MIN_LIFE = timedelta(seconds=30)


class Folders(Protocol):
    """Flags and folders of a mailbox, which POP3 does not have."""

    def marked_as_deleted(self) -> list[str]: ...
    def mark_read(self, uids: list[str]) -> None: ...
    def move(self, uids: list[str], folder: str) -> None: ...


class Mailbox(Protocol):
    """The interface of IMAP, POP3 and Graph mailboxes for a fetch; the adapters document the methods."""

    #: Whether ``uids`` returns all messages, or only those that have arrived since the last complete fetch.
    @property
    def lists_all(self) -> bool: ...

    #: Requests what arrives after the list of this session; empty: every list has all messages.
    @property
    def delta_link(self) -> str: ...

    #: UIDs that turned out not to exist while the messages were requested.
    @property
    def missing(self) -> Collection[str]: ...

    #: Within one generation a uid identifies one message. A different generation is a different mailbox.
    @property
    def generation(self) -> str: ...

    #: Differs after every change to the set of messages; empty: unknown.
    @property
    def state(self) -> str: ...

    #: Whether removing messages ends the session, and so must be the last step.
    @property
    def removes_at_end(self) -> bool: ...

    #: None: the protocol has no flags and folders (POP3).
    @property
    def folders(self) -> Folders | None: ...

    #: The TLS version, or ``without TLS``.
    @property
    def secured_by(self) -> str: ...

    #: Whether requests may be sent before the responses to earlier ones.
    @property
    def is_pipelining(self) -> bool: ...

    #: Seconds from a command to its response, measured once.
    @property
    def round_trip(self) -> float: ...

    def uids(self) -> list[str]: ...

    #: These four send a request at once. The returned function reads its response; responses are read in the order of
    #: their requests.
    def sizes(self, uids: list[str]) -> Callable[[], dict[str, int]]: ...
    def fetch(self, sizes: dict[str, int]) -> Callable[[], dict[str, bytes | Refused]]: ...
    def header(self, uid: str, file: BinaryIO) -> Callable[[], bool]: ...
    def download(self, uid: str, size: int, file: BinaryIO) -> Callable[[], bool]: ...
    def shut_down(self) -> None: ...
    def remove(self, uids: list[str]) -> None: ...


SECURITY = {
    AccountType.IMAP: Security.NONE,
    AccountType.IMAPS: Security.TLS,
    AccountType.IMAPTLS: Security.STARTTLS,
    AccountType.POP3: Security.NONE,
    AccountType.POP3S: Security.TLS,
    AccountType.POP3TLS: Security.STARTTLS,
    AccountType.MSGRAPH: Security.TLS,
}
DEFAULT_PORTS = {
    AccountType.IMAPS: 993,
    AccountType.IMAPTLS: 143,
    AccountType.IMAP: 143,
    AccountType.POP3S: 995,
    AccountType.POP3TLS: 110,
    AccountType.POP3: 110,
    AccountType.MSGRAPH: 443,
}


def open_with_token(account: MailAccount, stack: ExitStack, *, clock: Clock, note: Callable[[str], None]) -> Mailbox:
    """Open the account's mailbox; ``stack`` closes it.

    If the server rejects a token, the token is refreshed once per outage and tried again; ``note`` logs this.
    """
    if account.token is None:
        return stack.enter_context(opened(account, None))
    return retry_with_new_token.with_retry(
        account.token,
        lambda token: stack.enter_context(opened(account, token)),
        min_life=TOKEN_MIN_LIFE,
        failing_since=account.failing_since,
        clock=clock,
        note=note,
    )


def opened(account: MailAccount, token: Token | None) -> AbstractContextManager[Mailbox]:
    """Sign in to the account's mailbox with the token or the password. Refused: the server rejected the sign-in."""
    return opened_with(account, credential(account, token))


def opened_with(
    account: MailAccount, used: Credential, *, silence: float | None = None
) -> AbstractContextManager[Mailbox]:
    """The same with a credential that need not be stored. ``silence``: maximum seconds without data; None: usual."""
    at = server(account, silence)
    if account.type.is_graph:
        return graph_mailbox.mailbox(at, used, account.folder, account.delta_link)
    if account.type.is_pop3:
        return pop3.mailbox(at, used)
    return imap.mailbox(at, used, account.folder)


def server(account: MailAccount, silence: float | None = None) -> Server:
    splits = account.type.is_pop3 and account.host.lower() in settings.pop3_split_hosts()
    return Server(
        account.host,
        account.port,
        SECURITY[account.type],
        splits_token=splits,
        ca=account.ca,
        fingerprint=account.fingerprint,
        silence=silence,
    )


def where(account: MailAccount) -> Where:
    """The kind of server whose responses the account receives."""
    if account.type.is_graph:
        return Where.GRAPH
    return Where.POP3 if account.type.is_pop3 else Where.IMAP


def credential(account: MailAccount, token: Token | None) -> Credential:
    if token is None:
        return Credential(account.login, password=account.password)
    return Credential(account.login, token=token.access_token)
