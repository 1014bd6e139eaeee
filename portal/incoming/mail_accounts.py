"""Mail accounts: add, edit, delete, pause and resume; request and cancel fetches."""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from portal import providers
from portal.core import due_times, token_state, work_state
from portal.core.clock import Clock
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused
from portal.core.language import Text, _, joined
from portal.core.loopback import is_loopback
from portal.incoming import destinations, mailbox_connection
from portal.models import (
    HOST,
    AccountType,
    AfterFetch,
    Destination,
    LargeMessages,
    MailAccount,
    Run,
    RunOutcome,
    Token,
    TokenConfig,
    Validity,
    text_problems,
)
from portal.protocols import graph, graph_folders, imap, tls_options
from portal.protocols.sasl import Credential
from portal.providers.loader import Template
from portal.system import audit, job_queue, named_rows, settings
from portal.tokens import access_tokens, microsoft_rules, token_facts


@dataclass
class Fields:
    """Form input for an account; field names are column names. ``token`` None: password authentication.

    An empty ``host`` means the provider's host, port 0 the default port of the type.
    """

    name: str
    type: AccountType
    host: str
    port: int
    login: str
    token: Token | None
    destination: Destination
    folder: str = "INBOX"
    dispatch_by_address: bool = False
    after_fetch: AfterFetch = AfterFetch.KEEP
    move_to: str = ""
    large_messages: LargeMessages = LargeMessages.KEEP
    move_large_to: str = ""
    ca: str = ""
    fingerprint: str = ""
    trusted: bool = False
    fetch_interval: int | None = None
    fetch_times: str = ""
    push: bool = False
    validity: Validity = Validity.VALID
    comment: str = ""


#: Fields whose change requires a complete list of a mailbox at Microsoft Graph: another mailbox, or another action,
#: which must not be applied to messages that have left the folder meanwhile.
_NEEDS_LIST = {"host", "port", "type", "login", "folder", "after_fetch", "move_to", "large_messages", "move_large_to"}
#: Fields that determine which server receives the password; after a change it must be entered again.
_SIGNS_IN_AT = ("host", "port", "type", "ca", "fingerprint")


def complete(entered: Fields, instead_of: MailAccount | None = None) -> None:
    """Fill in defaults for empty fields, and normalize the other values for storage.

    ``instead_of``: the stored account; with another type, the standard port of its old type is that of the new one.
    """
    if instead_of and entered.type is not instead_of.type:
        entered.port = 0 if entered.port == mailbox_connection.DEFAULT_PORTS[instead_of.type] else entered.port
    if not entered.host and entered.token:
        entered.host = _host_of_provider(entered.type, providers.of(entered.token.token_config.template))
    entered.port = entered.port or mailbox_connection.DEFAULT_PORTS[entered.type]
    entered.fingerprint = tls_options.plain_fingerprint(entered.fingerprint)
    entered.ca = tls_options.only_certificates(entered.ca)
    with suppress(ValueError):
        entered.fetch_times = due_times.times_text(entered.fetch_times) or entered.fetch_times


def _host_of_provider(kind: AccountType, template: Template) -> str:
    """The host that the customers of a provider share; empty if they do not share one."""
    if kind.is_graph:
        return template.graph_host
    return (template.pop3_host if kind.is_pop3 else "") or template.imap_host


def add(entered: Fields, password: Secret | None, *, actor: str, now: datetime) -> MailAccount:
    """Create an account, and its destination if that is not stored yet; its first fetch is due at once.

    Invalid names each bad field.
    """
    complete(entered)
    check(entered, has_password=bool(password))
    _check_password(password)
    with named_rows.saving(MailAccount):
        if entered.destination.id is None:
            entered.destination = _add_maildir(entered.destination, actor=actor, now=now)
        account = MailAccount.create(created_at=now, changed_at=now, due_at=now, **named_rows.columns(entered))
        account.password = password
        account.save()
        audit.about(account, actor, "added", f"{entered.type.value} {entered.login} at {entered.host}", now)
    return account


def _add_maildir(wanted: Destination, *, actor: str, now: datetime) -> Destination:
    try:
        return destinations.add(destinations.Fields(wanted.name, wanted.type, wanted.path), actor=actor, now=now)
    except Invalid as error:
        raise Invalid({"new_maildir": joined(list(error.fields.values()))}) from error


def edit(account: MailAccount, entered: Fields, password: Secret | None, *, actor: str, now: datetime) -> None:
    """Change an account and fetch it at once. ``password`` None keeps the stored one; a token replaces it."""
    complete(entered, account)
    check(entered, has_password=bool(password or stored_password(account, entered)))
    _check_password(password)
    changed = named_rows.assign(account, entered)
    if _NEEDS_LIST & set(changed):
        account.delta_link = ""
    if password or entered.token:
        account.password = None if entered.token else password
    account.changed_at, account.due_at = now, now
    with named_rows.saving(MailAccount):
        account.overwrite()
        audit.about(account, actor, "edited", audit.changed([*changed, *(["password"] if password else [])]), now)


def delete(account: MailAccount, *, actor: str, now: datetime) -> None:
    """Delete the account with its ledger and log. Its token, mail on the server and delivered mail are kept."""
    named_rows.delete(account, f"{account.login} at {account.host}", actor=actor, now=now)


def request_fetch(account: MailAccount, *, actor: str, now: datetime) -> None:
    """Make the account due and reset its backoff. The job is enqueued at once, or by the clock if Redis is down."""
    with transaction():
        MailAccount.update(due_at=now, tries=0).where(MailAccount.id == account.id).execute()
        audit.about(account, actor, "fetch-requested", "", now)
    job_queue.fetch_mail_accounts()


def fetch_now(account: MailAccount, *, actor: str, now: datetime) -> None:
    """Request a fetch. Raise Refused if none can be made until a user acts; the request is kept for then."""
    before = state(account, now)
    request_fetch(account, actor=actor, now=now)
    if before.remedy:
        raise Refused(
            _("{name} cannot be fetched: {word}. {remedy}", name=account.name, word=before.word, remedy=before.remedy)
        )


def pause(account: MailAccount, *, actor: str, now: datetime) -> None:
    """Pause fetching until the account is resumed; a run in progress stops without losing mail."""
    _set_validity(account, Validity.VALID, Validity.INVALID_TEMPORARILY, "paused", actor, now)


def resume(account: MailAccount, *, actor: str, now: datetime) -> None:
    """Resume fetching; the first fetch starts at once."""
    _set_validity(account, Validity.INVALID_TEMPORARILY, Validity.VALID, "resumed", actor, now)
    job_queue.fetch_mail_accounts()


def _set_validity(
    account: MailAccount, before: Validity, validity: Validity, act: str, actor: str, now: datetime
) -> None:
    """Change the validity. Invalid: the current validity is not ``before``, e.g. set to invalid."""
    if account.validity is not before:
        raise Invalid(
            {
                "validity": _(
                    "{name} is {validity}; it cannot be {act}.",
                    name=account.name,
                    validity=Text(account.validity.value),
                    act=Text(act),
                )
            }
        )
    with transaction():
        account.validity, account.due_at, account.tries = validity, now, 0
        account.overwrite()
        audit.about(account, actor, act, "", now)


def set_validity(account: MailAccount, *, validity: Validity, actor: str, now: datetime) -> None:
    """Set any validity; a valid account is fetched at once."""
    with transaction():
        account.validity, account.due_at, account.tries = validity, now, 0
        account.overwrite()
        audit.about(account, actor, "validity-set", validity.value, now)
    if account.is_valid:
        job_queue.fetch_mail_accounts()


def cancel(run: Run, *, actor: str, now: datetime) -> bool:
    """Stop a run without losing mail; the next fetch starts when it is due. False: the run has already ended."""
    with transaction():
        going = (Run.id == run.id) & (Run.outcome == RunOutcome.RUNNING) & Run.cancelled_by.is_null()
        asked = bool(Run.update(cancelled_by=actor).where(going).execute())
        if asked:
            audit.about(run.mail_account, actor, "run-cancelled", f"run {run.id}", now)
    return asked


def going(account: MailAccount) -> Run | None:
    """The run in progress, None if there is none."""
    run: Run | None = Run.get_or_none(Run.mail_account == account.id, Run.outcome == RunOutcome.RUNNING)
    return run


def folders(entered: Fields, password: Secret | None, *, actor: str, clock: Clock) -> list[str]:
    """List the server's folders for the entered account. ExternalError: the listing failed, with the reason."""
    complete(entered)
    check(entered, has_password=bool(password))
    if entered.type.is_pop3:
        raise Invalid({"folder": _("POP3 has no folders.")})
    account = MailAccount(**named_rows.columns(entered))
    at = mailbox_connection.server(account)
    if entered.token is None:
        return imap.folders(at, Credential(entered.login, password=password))
    token = access_tokens.usable_access_token(
        entered.token.id, min_life=mailbox_connection.TOKEN_MIN_LIFE, actor=actor, clock=clock
    )
    credential = Credential(entered.login, token=token.access_token)
    if entered.type.is_graph:
        with graph.opened(at, credential) as mailbox:
            return graph_folders.names(mailbox)
    return imap.folders(at, credential)


def stored_password(account: MailAccount, entered: Fields) -> Secret | None:
    """The stored password, None if the server changes: a stored password is never sent to another server."""
    if any(getattr(account, name) != getattr(entered, name) for name in _SIGNS_IN_AT):
        return None
    return account.password


def _check_password(password: Secret | None) -> None:
    if password and not password.reveal().isprintable():
        raise Invalid({"password": _("The password contains a line break or a control character.")})


def check(entered: Fields, *, has_password: bool) -> None:
    problems = {name: _("This field is required.") for name in ("name", "host", "login") if not getattr(entered, name)}
    if entered.host and not re.fullmatch(HOST, entered.host):
        problems["host"] = _("Enter only a host name, for example outlook.office365.com.")
    problems |= text_problems(MailAccount, {**named_rows.columns(entered), "ca": ""})
    if not 0 < entered.port < 65536:
        problems["port"] = _("Enter a port from 1 to 65535.")
    if entered.type.is_graph and entered.token is None:
        problems["token"] = _("Microsoft Graph has no passwords; choose a token.")
    elif entered.token is None and not has_password:
        problems["password"] = _("Enter a password or choose a token. If the server changed, enter the password again.")
    elif entered.token and (problem := _token_problem(entered.type, entered.token.token_config)):
        problems["token"] = problem
    problems |= (
        _protocol_problems(entered) | tls_options.problems(entered.ca, entered.fingerprint) | _time_problems(entered)
    )
    if problems:
        raise Invalid(problems)


def _token_problem(kind: AccountType, config: TokenConfig) -> str:
    """Why tokens of this configuration cannot open a mailbox of this type; empty: no problem."""
    if not microsoft_rules.is_microsoft(config.token_url):
        return ""
    protocol = "Graph" if kind.is_graph else "POP" if kind.is_pop3 else "IMAP"
    return microsoft_rules.access_problem(config.scope, protocol)


def _protocol_problems(entered: Fields) -> dict[str, str]:
    """Errors for options that the account type does not support or that are not secure."""
    problems = {}
    if entered.type.is_without_tls and not is_loopback(entered.host):
        problems["type"] = _(
            "{type} sends token or password without TLS; choose {type}S or {type}TLS. (Without TLS, only this host is "
            "allowed.)",
            type=entered.type.value,
        )
    if entered.type.is_pop3 and entered.after_fetch in (AfterFetch.SEEN, AfterFetch.MOVE):
        problems["after_fetch"] = _("POP3 has neither read marks nor folders; choose keep or delete.")
    if entered.after_fetch is AfterFetch.MOVE and entered.move_to.casefold() in ("", entered.folder.casefold()):
        problems["move_to"] = _("Enter a folder other than the fetched folder.")
    if entered.type.is_pop3 and entered.large_messages is LargeMessages.MOVE:
        problems["large_messages"] = _(
            "POP3 has no folders; leave large messages on the server or deliver their headers."
        )
    moves_large = entered.large_messages is LargeMessages.MOVE
    if moves_large and entered.move_large_to.casefold() in ("", entered.folder.casefold()):
        problems["move_large_to"] = _("Enter a folder other than the fetched folder.")
    if entered.push and not entered.type.is_imap:
        problems["push"] = _(
            "{type} does not report new mail; choose an IMAP type or turn off this option.", type=entered.type.value
        )
    return problems


def _time_problems(entered: Fields) -> dict[str, str]:
    problems = {}
    if entered.fetch_interval is not None and not 5 <= entered.fetch_interval <= 86400:
        problems["fetch_interval"] = _("Enter 5 to 86400 seconds (1 day), or leave empty to use the setting.")
    try:
        if entered.fetch_times and not due_times.times_text(entered.fetch_times):
            raise ValueError
    except ValueError:
        problems["fetch_times"] = _("Enter times of day separated by commas, such as 06:00, 18:30.")
    return problems


def state(account: MailAccount, now: datetime) -> token_state.State:
    """The current state of the account, including the state of its token."""
    token = account.token
    facts = work_state.AccountFacts(
        valid=account.is_valid,
        paused=account.validity is Validity.INVALID_TEMPORARILY,
        token=token_state.access_token(token_facts.of(token, settings.refresh_margin()), now) if token else None,
        fetched_at=account.fetched_at,
        failing_since=account.failing_since,
        failure=account.failure,
        due_at=account.due_at,
        running=account.leased_until is not None and account.leased_until > now,
    )
    return work_state.mail_account(facts)
