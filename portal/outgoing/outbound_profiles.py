"""Outbound profiles (SMTP servers to send through): add, change, delete and select."""

import re
from dataclasses import dataclass
from datetime import datetime

from portal import providers
from portal.core import token_state, work_state
from portal.core.db import locked, transaction
from portal.core.encryption import Secret
from portal.core.errors import InUse, Invalid, Refused
from portal.core.language import _, joined
from portal.core.loopback import is_loopback
from portal.core.text import split_list
from portal.models import HOST, OutboundProfile, OutboundState, OutboundType, Token, Validity, text_problems
from portal.outgoing import profile_connection
from portal.protocols import tls_options
from portal.providers.loader import Template
from portal.system import audit, named_rows, settings, unencrypted
from portal.tokens import microsoft_rules, token_facts

#: Columns that determine which server gets the password; a change requires entering the password again.
_SIGNS_IN_AT = ("host", "port", "type", "ca", "fingerprint")
#: An address in MAIL and RCPT, without angle brackets (RFC 5321 section 4.1.2); any script is allowed.
ADDRESS = r"[^\s@<>\x00-\x1f\x7f]+@[^\s@<>\x00-\x1f\x7f]+"


class NotServed(Refused):
    """No outbound profile serves this sender."""


@dataclass
class Fields:
    """The values of an outbound profile that an administrator enters, named like the columns.

    ``token`` None: sign-in with a password, or no sign-in. An empty ``host`` is replaced by the host, type and limits
    of the token's provider, port 0 by the standard port of the type.
    """

    name: str
    type: OutboundType
    host: str = ""
    port: int = 0
    login: str = ""
    token: Token | None = None
    senders: str = ""
    fallback: bool = False
    sends_as: str = ""
    per_minute: int | None = None
    per_day: int | None = None
    connections: int = 1
    timeout: int = 60
    ca: str = ""
    fingerprint: str = ""
    validity: Validity = Validity.VALID
    comment: str = ""


def complete(entered: Fields) -> None:
    """Fill in defaults from the provider template and normalize the other values for storage."""
    if entered.token and not entered.host:
        _use_server_of(providers.of(entered.token.token_config.template), entered)
    entered.port = entered.port or profile_connection.DEFAULT_PORTS[entered.type]
    entered.fingerprint, entered.ca = (
        tls_options.plain_fingerprint(entered.fingerprint),
        tls_options.only_certificates(entered.ca),
    )
    entered.senders = ", ".join(dict.fromkeys(split_list(entered.senders)))


def _use_server_of(preset: Template, entered: Fields) -> None:
    if entered.type.is_graph:
        entered.host = preset.graph_host
    elif preset.smtp_host:
        entered.host, entered.type = preset.smtp_host, OutboundType(preset.smtp_type)
    if entered.host:
        entered.per_minute = entered.per_minute or preset.smtp_per_minute or None
        entered.per_day = entered.per_day or preset.smtp_recipients_per_day or None
        entered.connections = max(entered.connections, preset.smtp_connections)


def add(entered: Fields, password: Secret | None, *, actor: str, now: datetime) -> OutboundProfile:
    """Create an outbound profile. Raises Invalid with a message for each invalid field."""
    complete(entered)
    check(entered, None, has_password=bool(password))
    with named_rows.saving(OutboundProfile):
        row = OutboundProfile.create(created_at=now, changed_at=now, **named_rows.columns(entered))
        row.password = password
        row.save()
        audit.about(row, actor, "added", f"{entered.type.value} {entered.host}", now)
    return row


def edit(row: OutboundProfile, entered: Fields, password: Secret | None, *, actor: str, now: datetime) -> None:
    """Change an outbound profile and make its queued messages due now. ``password`` None keeps the stored one."""
    if entered.type is not row.type and entered.port == profile_connection.DEFAULT_PORTS[row.type]:
        entered.port = 0
    complete(entered)
    kept = stored_password(row, entered)
    check(entered, row, has_password=bool(password or kept))
    changed = named_rows.assign(row, entered)
    row.password = None if entered.token or not entered.login else password or kept
    row.changed_at, row.due_at, row.tries = now, now, 0
    row.clear_failure()
    with named_rows.saving(OutboundProfile):
        # A worker that is sending keeps its lease and continues, so no message is submitted twice.
        row.save()
        audit.about(row, actor, "edited", audit.changed([*changed, *(["password"] if password else [])]), now)


def delete(row: OutboundProfile, *, actor: str, now: datetime) -> None:
    """Delete an outbound profile. Raises InUse if destinations use it or queued messages wait for it."""
    unsettled = (OutboundState.QUEUED, OutboundState.SENDING)
    with transaction():
        # The row lock serializes this transaction with a concurrent submission.
        locked(OutboundProfile.select(OutboundProfile.id).where(OutboundProfile.id == row.id)).first()
        names = ", ".join(destination.name for destination in row.destinations)
        waiting = sum(1 for message in row.messages if message.state in unsettled)
        if waiting and not names:
            raise InUse(
                _(
                    "Queued messages for {name!r}: {waiting}. Drop them, or wait until they are sent.",
                    name=row.name,
                    waiting=waiting,
                )
            )
        users = _("Destinations that send through it: {names}.", names=names) if names else ""
        named_rows.delete(row, "", users=users, actor=actor, now=now)


def stored_password(row: OutboundProfile, entered: Fields) -> Secret | None:
    """Return the stored password; None if the entered values would send it to another server."""
    if any(getattr(row, name) != getattr(entered, name) for name in _SIGNS_IN_AT):
        return None
    return row.password


def check(entered: Fields, row: OutboundProfile | None, *, has_password: bool) -> None:
    """Raise Invalid unless the values are valid. ``row`` is the profile to change; None: a new profile."""
    problems = {name: _("This field is required.") for name in ("name", "host") if not getattr(entered, name)}
    if entered.host and not re.fullmatch(HOST, entered.host):
        problems["host"] = _("Enter only a host name, for example smtp.office365.com.")
    problems |= text_problems(OutboundProfile, {**named_rows.columns(entered), "ca": ""})
    problems |= _number_problems(entered) | _sign_in_problems(entered, has_password=has_password)
    problems |= tls_options.problems(entered.ca, entered.fingerprint) | _sender_problems(entered, row)
    if problems:
        raise Invalid(problems)


def _number_problems(entered: Fields) -> dict[str, str]:
    ranges = {
        "port": (1, 65535),
        "connections": (1, 20),
        "timeout": (5, 600),
        "per_minute": (1, 100_000),
        "per_day": (1, 10_000_000),
    }
    values = {name: getattr(entered, name) for name in ranges}
    return {
        name: _("Enter a number from {low} to {high:,}.", low=low, high=high)
        for name, (low, high) in ranges.items()
        if values[name] is not None and not low <= values[name] <= high
    }


def _sign_in_problems(entered: Fields, *, has_password: bool) -> dict[str, str]:
    problems = {}
    if entered.type.is_graph and not entered.token:
        problems["token"] = _("Microsoft Graph has no passwords; choose a token.")
    if entered.token and microsoft_rules.is_microsoft(entered.token.token_config.token_url):
        protocol = "Graph" if entered.type.is_graph else "SMTP"
        if problem := microsoft_rules.access_problem(entered.token.token_config.scope, protocol):
            problems["token"] = problem
    if entered.token and not entered.login:
        problems["login"] = _("Enter the user name, usually the mailbox address.")
    if entered.login and not entered.token and not has_password:
        problems["password"] = _("Enter a password or choose a token. If the server changed, enter the password again.")
    if entered.login and entered.type is OutboundType.SMTP and not is_loopback(entered.host):
        problems["type"] = _("SMTP sends token or password without TLS. Choose SMTPS or SMTPTLS.")
    elif entered.type is OutboundType.SMTP and (objection := unencrypted.problem(entered.host, "mail")):
        problems["type"] = objection
    return problems


def _sender_problems(entered: Fields, row: OutboundProfile | None) -> dict[str, str]:
    problems = {}
    if strange := [one for one in split_list(entered.senders) if not re.fullmatch(rf"{ADDRESS}|@[^\s@<>]+", one)]:
        problems["senders"] = _("{entry} is neither an address nor a domain such as @example.com.", entry=strange[0])
    if entered.sends_as and not (entered.sends_as.isascii() and re.fullmatch(ADDRESS, entered.sends_as)):
        problems["sends_as"] = _("Enter an ASCII email address.")
    others = [other for other in OutboundProfile.select() if row is None or other.id != row.id]
    for other in others:
        if both := set(split_list(entered.senders)) & set(split_list(other.senders)):
            problems["senders"] = _("{name} already serves {sender}.", name=other.name, sender=min(both))
        if entered.fallback and other.fallback:
            problems["fallback"] = _(
                "{name} is already the fallback. Only one profile can be the fallback.", name=other.name
            )
    return problems


# Choosing -------------------------------------------------------------------------------------------------------------


def select_profile(addresses: list[str]) -> OutboundProfile:
    """Return the profile that serves the first served address, else the fallback. Raises NotServed without either."""
    rows = list(OutboundProfile.select().where(OutboundProfile.validity != Validity.INVALID))
    for address in addresses:
        for wanted in (address.lower(), f"@{address.lower().rpartition('@')[2]}"):
            if found := next((row for row in rows if wanted in split_list(row.senders)), None):
                return found
    if fallback := next((row for row in rows if row.fallback), None):
        return fallback
    raise NotServed(
        _(
            "No outbound profile serves {senders}, and there is no fallback.",
            senders=joined(addresses, ", ") if addresses else _("this sender"),
        )
    )


def serves(row: OutboundProfile, address: str) -> bool:
    """Return whether this address, or its domain, is one of the profile's senders."""
    known = split_list(row.senders)
    return address.lower() in known or f"@{address.lower().rpartition('@')[2]}" in known


def may_send_as(row: OutboundProfile, address: str) -> bool:
    """Return whether the profile sends mail under this address instead of ``sends_as``."""
    return not row.sends_as or serves(row, address)


def owns(row: OutboundProfile, address: str) -> bool:
    """Return whether the profile's mailbox may send from this address, as far as the profile says."""
    return address.lower() in (row.login.lower(), row.sends_as.lower()) or serves(row, address)


def sender_address(row: OutboundProfile) -> str:
    """Return an address that the profile may send from; empty if none is known."""
    addresses = [row.sends_as, row.login, *split_list(row.senders)]
    return next((one for one in addresses if one.isascii() and re.fullmatch(ADDRESS, one)), "")


def state(row: OutboundProfile, now: datetime) -> token_state.State:
    token = row.token
    facts = work_state.SenderFacts(
        valid=row.is_valid,
        paused=row.validity is Validity.INVALID_TEMPORARILY,
        token=token_state.access_token(token_facts.of(token, settings.refresh_margin()), now) if token else None,
        good_at=row.sent_at,
        failing_since=row.failing_since,
        failure=row.failure,
        next_try=row.due_at,
    )
    return work_state.sender(facts, done=_("sent"), unused=_("nothing sent yet"))
