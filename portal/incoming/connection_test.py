"""A connection with entered values that are not stored: the fault is named at the field that causes it."""

from contextlib import ExitStack

from portal import causes
from portal.causes import Cause, Fault
from portal.core.clock import Clock
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Invalid, Side
from portal.core.language import joined
from portal.incoming import mail_accounts, mailbox_connection
from portal.incoming.mail_accounts import Fields
from portal.models import MailAccount
from portal.protocols.sasl import Credential
from portal.system import named_rows
from portal.tokens import access_tokens

#: Seconds without data, for a user who waits: a server of another type may wait for the portal to speak first.
_PATIENCE = 15.0
#: Causes of a fault in another field than that of the host or of the sign-in.
_FIELDS = {
    "folder-missing": "folder", "starttls-wanted": "type", "tls-from-first-byte": "type", "no-starttls": "type",
    "tls-not-spoken": "type", "not-this-protocol": "type", "no-oauth-offered": "authentication",
    "no-password-offered": "authentication", "basic-auth-ended": "authentication",
}  # fmt: skip


def run(entered: Fields, password: Secret | None, *, instead_of: MailAccount | None, actor: str, clock: Clock) -> None:
    """Sign in and open the folder. Invalid: a value is wrong, or the connection failed, with the remedy.

    ``instead_of``: the stored account whose values were changed; None: a new one.
    """
    mail_accounts.complete(entered, instead_of)
    mail_accounts.check(entered, has_password=bool(password))
    account = MailAccount(**named_rows.columns(entered))
    try:
        _open(account, password, actor, clock)
    except ExternalError as error:
        name = causes.of_failure(error, mailbox_connection.where(account), by_password=account.token is None)
        cause = causes.named(name)
        sentences = [f"{str(error).rstrip('.')}.", *_remedy(cause, account)]
        raise Invalid({_field(cause, account, error): joined(sentences)}) from error


def _open(account: MailAccount, password: Secret | None, actor: str, clock: Clock) -> None:
    token = account.token and access_tokens.usable_access_token(
        account.token.id, min_life=mailbox_connection.TOKEN_MIN_LIFE, actor=actor, clock=clock
    )
    credential = Credential(account.login, token=token.access_token if token else None, password=password)
    with ExitStack() as stack:
        stack.enter_context(mailbox_connection.opened_with(account, credential, silence=_PATIENCE))


def _field(cause: Cause, account: MailAccount, error: ExternalError) -> str:
    if found := _FIELDS.get(cause.name):
        return found
    if (cause.fault is Fault.NETWORK and error.side is not Side.PROVIDER) or cause.name.startswith("certificate-"):
        has_own_port = account.port != mailbox_connection.DEFAULT_PORTS[account.type]
        return "port" if has_own_port and cause.fault is Fault.NETWORK else "host"
    return "token" if account.token else "password"


def _remedy(cause: Cause, account: MailAccount) -> list[str]:
    if cause.name == causes.UNKNOWN:
        return []
    return cause.steps({"mailbox": account.login, "host": account.host})
