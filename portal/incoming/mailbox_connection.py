"""The mailbox of a mail account, opened: which protocol, how it is secured, and who signs in."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import BinaryIO, Protocol

from portal.core.errors import Refused
from portal.models import AccountType, MailAccount, Token
from portal.protocols import imap, pop3
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from portal.system import settings
from portal.tokens import retry_with_new_token
from portal.tokens.retry_with_new_token import Clock

#: A token must outlive the beginning of a session; most servers let a session outlive its token.
TOKEN_MIN_LIFE = timedelta(seconds=30)


class Mailbox(Protocol):
    """What a fetch needs of IMAP and POP3 alike; the adapters say what each does."""

    #: Within one generation a uid names one message. Another generation is another mailbox.
    @property
    def generation(self) -> str: ...

    #: Removing ends the session, so it comes last.
    @property
    def removes_at_end(self) -> bool: ...

    #: The version of TLS, or that there is none.
    @property
    def secured_by(self) -> str: ...

    def uids(self) -> list[str]: ...
    def sizes(self, uids: list[str]) -> dict[str, int]: ...
    def fetch(self, sizes: dict[str, int]) -> dict[str, bytes | Refused]: ...
    def header(self, uid: str, file: BinaryIO) -> bool: ...
    def download(self, uid: str, size: int, file: BinaryIO) -> bool: ...
    def break_off(self) -> None: ...
    def remove(self, uids: list[str]) -> None: ...


SECURITY = {
    AccountType.IMAP: Security.NONE,
    AccountType.IMAPS: Security.TLS,
    AccountType.IMAPTLS: Security.STARTTLS,
    AccountType.POP3: Security.NONE,
    AccountType.POP3S: Security.TLS,
    AccountType.POP3TLS: Security.STARTTLS,
}
DEFAULT_PORTS = {
    AccountType.IMAPS: 993,
    AccountType.IMAPTLS: 143,
    AccountType.IMAP: 143,
    AccountType.POP3S: 995,
    AccountType.POP3TLS: 110,
    AccountType.POP3: 110,
}


def open_with_token(account: MailAccount, stack: ExitStack, *, clock: Clock, note: Callable[[str], None]) -> Mailbox:
    """The account's mailbox, to be closed by ``stack``.

    A token in use that the server does not take is renewed, once an outage, and tried again; ``note`` hears of it.
    """
    if account.token is None:
        return stack.enter_context(opened(account, None))
    return retry_with_new_token.attempt(
        account.token,
        lambda token: stack.enter_context(opened(account, token)),
        min_life=TOKEN_MIN_LIFE,
        failing_since=account.failing_since,
        clock=clock,
        note=note,
    )


def opened(account: MailAccount, token: Token | None) -> AbstractContextManager[Mailbox]:
    """The account's mailbox, signed in with the token, or with its password. Refused: the server takes neither."""
    if account.type.is_pop3:
        return pop3.mailbox(server(account), credential(account, token))
    return imap.mailbox(server(account), credential(account, token), account.folder)


def server(account: MailAccount) -> Server:
    splits = account.type.is_pop3 and account.host.lower() in settings.pop3_split_hosts()
    return Server(
        account.host,
        account.port,
        SECURITY[account.type],
        splits_token=splits,
        ca=account.ca,
        fingerprint=account.fingerprint,
    )


def credential(account: MailAccount, token: Token | None) -> Credential:
    if token is None:
        return Credential(account.login, password=account.password)
    return Credential(account.login, token=token.access_token)
