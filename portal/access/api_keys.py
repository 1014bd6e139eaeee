"""API keys with which programs get access tokens and send mail."""

import hashlib
import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from portal.access import rate_limit
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.core.language import _
from portal.core.text import split_list
from portal.models import ApiKey, ApiKeyConfig, TokenConfig, text_problems
from portal.system import audit, named_rows

#: Identifies an API key to users and to secret scanners.
PREFIX = "mtp_"
_HINT = 10
#: How long a replaced key can still work.
MAX_OVERLAP_HOURS = 30 * 24
#: Limit of wrong keys from one address within 15 minutes.
_MOST_WRONG = 50


class InvalidKey(PortalError):
    """The API key is invalid: unknown, expired, or used from a network that is not allowed."""


class NotAllowed(PortalError):
    """The API key is valid, but does not allow this request."""


@dataclass
class Fields:
    """The values that an administrator enters, named like the columns."""

    name: str
    configs: list[TokenConfig] = field(default_factory=list)
    networks: str = ""
    may_send: bool = False
    senders: str = ""
    per_hour: int | None = None
    for_relay: bool = False
    may_read_health: bool = False
    may_manage: bool = False
    ends_at: datetime | None = None
    comment: str = ""


def add(entered: Fields, *, actor: str, now: datetime) -> tuple[ApiKey, Secret]:
    """Create an API key; return its row and the key, which cannot be read again. Raise Invalid for bad values."""
    key = _new_key()
    return add_known(entered, key, actor=actor, now=now), key


def add_known(entered: Fields, key: Secret, *, actor: str, now: datetime) -> ApiKey:
    """Create an API key that was made elsewhere. Raise Invalid for bad values and for a key that can be guessed."""
    _complete(entered)
    check(entered, now)
    with named_rows.saving(ApiKey):
        row = ApiKey.create(**_values(entered), **_identity(key), created_at=now, created_by=actor[:100])
        _allow(row, entered.configs)
        audit.about(row, actor, "added", _scope(entered), now)
    return row


def edit(row: ApiKey, entered: Fields, key: Secret | None, *, actor: str, now: datetime) -> None:
    """Change the permissions of an API key, and the key itself if one is given."""
    _complete(entered)
    check(entered, now, row)
    values = _values(entered) | (_identity(key) if key else {})
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    with named_rows.saving(ApiKey):
        ApiKey.update(values).where(ApiKey.id == row.id).execute()
        ApiKeyConfig.delete().where(ApiKeyConfig.api_key == row.id).execute()
        _allow(row, entered.configs)
        audit.about(row, actor, "edited", f"{audit.changed(changed)}; {_scope(entered)}", now)


def _complete(entered: Fields) -> None:
    entered.networks = ", ".join(split_list(entered.networks))
    entered.senders = ", ".join(split_list(entered.senders.lower()))


def _values(entered: Fields) -> dict[str, Any]:
    return {name: value for name, value in named_rows.columns(entered).items() if name != "configs"}


def _allow(row: ApiKey, configs: list[TokenConfig]) -> None:
    for config in configs:
        ApiKeyConfig.create(api_key=row, token_config=config)


def _new_key() -> Secret:
    return Secret(PREFIX + secrets.token_urlsafe(32))


def _identity(key: Secret) -> dict[str, str]:
    """What is stored of a key: its hash, and its first characters. Raise Invalid for a short one."""
    text = key.reveal()
    if not re.fullmatch(r"[\x21-\x7e]{40,200}", text):
        raise Invalid({"key": _("A key has 40 to 200 characters without spaces, such as: openssl rand -hex 32.")})
    return {"key_hash": hashed(text), "hint": text[:_HINT]}


def replace(row: ApiKey, overlap_hours: int, *, actor: str, now: datetime) -> Secret:
    """Return a new key with the same permissions. The present one works for ``overlap_hours`` more."""
    if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
        raise Invalid({"overlap": _("Enter hours from 0 to {max_overlap_hours}.", max_overlap_hours=MAX_OVERLAP_HOURS)})
    key = _new_key()
    with transaction():
        row.previous_hash, row.previous_ends_at, row.previous_used_at = (
            row.key_hash,
            now + timedelta(hours=overlap_hours),
            None,
        )
        row.key_hash, row.hint = _identity(key).values()
        row.save()
        audit.about(
            row, actor, "replaced", f"the previous key works until {row.previous_ends_at:%Y-%m-%d %H:%M} UTC", now
        )
    return key


def _scope(entered: Fields) -> str:
    names = ", ".join(config.name for config in entered.configs)
    parts = [f"for tokens of {names}" if names else "", f"may send mail{_limits(entered)}" if entered.may_send else "",
             "may read health status" if entered.may_read_health else "",
             "may manage the portal" if entered.may_manage else ""]  # fmt: skip
    return "; ".join(part for part in parts if part)


def _limits(entered: Fields) -> str:
    senders = f" from {entered.senders}" if entered.senders else ""
    relay = f", without authentication from {entered.networks}" if entered.for_relay else ""
    return senders + (f", {entered.per_hour} messages an hour" if entered.per_hour else "") + relay


def delete(row: ApiKey, *, actor: str, now: datetime) -> None:
    """Delete an API key. The key stops working immediately."""
    named_rows.delete(row, f"{row.hint}…", actor=actor, now=now)


def check(entered: Fields, now: datetime, row: ApiKey | None = None) -> None:
    """Raise Invalid for bad values. ``row``: the key that is changed, whose end may have passed."""
    problems = text_problems(ApiKey, {"name": entered.name, "networks": entered.networks, "comment": entered.comment})
    if not entered.name:
        problems["name"] = _("This field is required.")
    if not (entered.configs or entered.may_send or entered.may_read_health or entered.may_manage):
        problems["configs"] = _("Choose a token configuration, or allow the key to send mail or read health status.")
    if entered.may_manage and not entered.networks:
        problems["networks"] = _("A key that may manage the portal needs the networks from which it is used.")
    is_over = entered.ends_at is not None and entered.ends_at <= now
    if is_over and not (row and row.ends_at == entered.ends_at):
        problems["ends_at"] = _("Enter a time in the future.")
    if strange := [one for one in split_list(entered.senders) if not re.fullmatch(r"[^@\s<>]*@[^@\s<>]+", one)]:
        problems["senders"] = _("{entry} is neither an address nor a domain such as @example.com.", entry=strange[0])
    if entered.per_hour is not None and not 0 < entered.per_hour <= 1_000_000:
        problems["per_hour"] = _("Enter a number from 1 to 1,000,000, or leave the field empty.")
    if entered.for_relay and not (entered.may_send and entered.senders and entered.networks):
        problems["for_relay"] = _(
            "A key for the relay needs May send mail, senders and networks: nothing else limits it."
        )
    for one in split_list(entered.networks):
        try:
            ipaddress.ip_network(one)
        except ValueError:
            problems["networks"] = _("{entry} is not an IP address or a network such as 10.1.0.0/16.", entry=one)
    if problems:
        raise Invalid(problems)


def authenticate(key: str, address: str, *, now: datetime) -> ApiKey:
    """The row of a valid key. Raise InvalidKey for an invalid key, RateLimited after too many invalid keys."""
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_hash == hashed(key)) or _replaced(hashed(key), now)
    reason = _reason_against(row, address, now)
    if row is not None and not reason:
        return row
    _note_refusal(row, address, reason, now)
    raise InvalidKey(reason)


def _replaced(key_hash: str, now: datetime) -> ApiKey | None:
    """The row of a key that was replaced and still works; records that it is still in use."""
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.previous_hash == key_hash, ApiKey.previous_ends_at > now)
    if row is not None:
        ApiKey.update(previous_used_at=now).where(ApiKey.id == row.id).execute()
    return row


def for_relay(address: str, *, now: datetime) -> ApiKey | None:
    """The key of the relay listener for a client without authentication; None: its address is in no network."""
    rows = ApiKey.select().where(ApiKey.for_relay, ApiKey.may_send).order_by(ApiKey.name)
    return next((row for row in rows if not _reason_against(row, address, now)), None)


def check_again(row_id: int, address: str, *, now: datetime) -> ApiKey:
    """The row of a key that was authenticated before. Raise InvalidKey if it was deleted, has expired or was moved."""
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.id == row_id)
    if row is None or (reason := _reason_against(row, address, now)):
        raise InvalidKey(reason if row else _("This API key was deleted."))
    require_sending(row, address, now=now)
    return row


def _note_refusal(row: ApiKey | None, address: str, reason: str, now: datetime) -> None:
    """Record a refusal in the audit trail. Raise RateLimited after too many refusals for one address."""
    guesses = [rate_limit.Subject(f"api key:{address}", _MOST_WRONG)]
    rate_limit.check_limit(guesses, "API keys", now=now)
    rate_limit.record_failure(guesses, now=now)
    name, row_id = (row.name, row.id) if row else ("", None)
    audit.record(address[:100], "API-key:refused", ApiKey.kind, row_id, name, reason, now)


def _reason_against(row: ApiKey | None, address: str, now: datetime) -> str:
    if row is None:
        return _("The API key is missing or invalid.")
    if row.ends_at and row.ends_at <= now:
        return _("This API key has expired.")
    return "" if is_within(address, row.networks) else _("This API key may not be used from this address.")


def is_within(address: str, networks: str) -> bool:
    """Whether an address is in one of the networks. Empty ``networks``: always true."""
    if not networks:
        return True
    try:
        there = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # A dual-stack socket reports IPv4 addresses as ::ffff:10.1.2.3.
    there = getattr(there, "ipv4_mapped", None) or there
    return any(there in ipaddress.ip_network(one) for one in split_list(networks))


def require_config(row: ApiKey, config: TokenConfig | None, address: str, *, now: datetime) -> None:
    """Raise NotAllowed unless the key allows the configuration. ``config`` None: the requested name does not exist."""
    allowed = ApiKeyConfig.api_key == row.id
    if config is not None and ApiKeyConfig.select().where(allowed, ApiKeyConfig.token_config == config.id).exists():
        return
    reason = _("The token does not exist, or this API key does not allow access to it.")
    _note_refusal(row, address, reason, now)
    raise NotAllowed(reason)


def usage_total(row: ApiKey) -> int:
    """The number of access tokens issued for the key."""
    return sum(hand_out.count for hand_out in row.usage_counts)


def require_sending(row: ApiKey, address: str, *, now: datetime) -> None:
    if not row.may_send:
        _refuse(row, address, _("This API key may not send mail."), now)


def require_watching(row: ApiKey, address: str, *, now: datetime) -> None:
    if not row.may_read_health:
        _refuse(row, address, _("This API key may not read health status."), now)


def require_managing(row: ApiKey, address: str, *, now: datetime) -> None:
    if not row.may_manage:
        _refuse(row, address, _("This API key may not manage the portal."), now)


def _refuse(row: ApiKey, address: str, reason: str, now: datetime) -> None:
    _note_refusal(row, address, reason, now)
    raise NotAllowed(reason)


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
