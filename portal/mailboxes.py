"""The mailbox of a mail account, opened: which protocol, how it is secured, and who signs in."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from portal import settings
from portal.adapters import imap, pop3
from portal.adapters.sasl import Credential
from portal.adapters.server import Security, Server
from portal.models import AccountType, MailAccount, Token


class Mailbox(Protocol):
    """What a fetch needs of IMAP and POP3 alike; the adapters say what each does."""

    #: Within one generation a uid names one message. Another generation is another mailbox.
    @property
    def generation(self) -> str: ...

    #: Removing ends the session, so it comes last.
    @property
    def removes_at_end(self) -> bool: ...

    def uids(self) -> list[str]: ...
    def sizes(self, uids: list[str]) -> dict[str, int]: ...
    def download(self, uid: str, size: int, file: BinaryIO, pulse: Callable[[], None]) -> bool: ...
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


def opened(account: MailAccount, token: Token | None) -> AbstractContextManager[Mailbox]:
    """The account's mailbox, signed in with the token, or with its password. Refused: the server takes neither."""
    if account.type.is_pop3:
        return pop3.mailbox(server(account), credential(account, token))
    return imap.mailbox(server(account), credential(account, token), account.folder)


def server(account: MailAccount) -> Server:
    splits = account.host.lower() in settings.pop3_split_hosts()
    return Server(account.host, account.port, SECURITY[account.type], splits_token=splits)


def credential(account: MailAccount, token: Token | None) -> Credential:
    if token is None:
        return Credential(account.login, password=account.password)
    return Credential(account.login, token=token.access_token)
