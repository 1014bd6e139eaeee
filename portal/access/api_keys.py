"""API keys with which programs get access tokens and send mail."""

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from portal.access import rate_limit
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.core.text import split_list
from portal.models import ApiKey, ApiKeyConfig, TokenConfig, text_problems
from portal.system import audit, named_rows

#: Identifies an API key to users and to secret scanners.
PREFIX = "mtp_"
_HINT = 10
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
    may_read_health: bool = False
    ends_at: datetime | None = None
    comment: str = ""


def add(entered: Fields, *, actor: str, now: datetime) -> tuple[ApiKey, Secret]:
    """Create an API key; return its row and the key, which cannot be read again. Raise Invalid for bad values."""
    entered.networks = ", ".join(split_list(entered.networks))
    check(entered, now)
    key = Secret(PREFIX + secrets.token_urlsafe(32))
    hint = key.reveal()[:_HINT]
    with named_rows.saving(ApiKey):
        row = ApiKey.create(
            name=entered.name, key_hash=hashed(key.reveal()), hint=hint, networks=entered.networks,
            may_send=entered.may_send, may_read_health=entered.may_read_health, ends_at=entered.ends_at,
            comment=entered.comment, created_at=now, created_by=actor[:100],
        )  # fmt: skip
        for config in entered.configs:
            ApiKeyConfig.create(api_key=row, token_config=config)
        audit.about(row, actor, "added", _scope(entered), now)
    return row, key


def _scope(entered: Fields) -> str:
    names = ", ".join(config.name for config in entered.configs)
    parts = [f"for tokens of {names}" if names else "", "may send mail" if entered.may_send else "",
             "may read health status" if entered.may_read_health else ""]  # fmt: skip
    return "; ".join(part for part in parts if part)


def delete(row: ApiKey, *, actor: str, now: datetime) -> None:
    """Delete an API key. The key stops working immediately."""
    named_rows.delete(row, f"{row.hint}…", actor=actor, now=now)


def check(entered: Fields, now: datetime) -> None:
    problems = text_problems(ApiKey, {"name": entered.name, "networks": entered.networks, "comment": entered.comment})
    if not entered.name:
        problems["name"] = "This field is required."
    if not (entered.configs or entered.may_send or entered.may_read_health):
        problems["configs"] = "Choose a token configuration, or allow the key to send mail or read health status."
    if entered.ends_at and entered.ends_at <= now:
        problems["ends_at"] = "Enter a time in the future."
    for one in split_list(entered.networks):
        try:
            ipaddress.ip_network(one)
        except ValueError:
            problems["networks"] = f"{one} is not an IP address or a network such as 10.1.0.0/16."
    if problems:
        raise Invalid(problems)


def authenticate(key: str, address: str, *, now: datetime) -> ApiKey:
    """The row of a valid key. Raise InvalidKey for an invalid key, RateLimited after too many invalid keys."""
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.key_hash == hashed(key))
    reason = _reason_against(row, address, now)
    if row is not None and not reason:
        return row
    _note_refusal(row, address, reason, now)
    raise InvalidKey(reason)


def _note_refusal(row: ApiKey | None, address: str, reason: str, now: datetime) -> None:
    """Record a refusal in the audit trail. Raise RateLimited after too many refusals for one address."""
    guesses = [rate_limit.Subject(f"api key:{address}", _MOST_WRONG)]
    rate_limit.check_limit(guesses, "API keys", now=now)
    rate_limit.record_failure(guesses, now=now)
    name, row_id = (row.name, row.id) if row else ("", None)
    audit.record(address[:100], "API-key:refused", ApiKey.kind, row_id, name, reason, now)


def _reason_against(row: ApiKey | None, address: str, now: datetime) -> str:
    if row is None:
        return "The API key is missing or invalid."
    if row.ends_at and row.ends_at <= now:
        return "This API key has expired."
    return "" if is_within(address, row.networks) else "This API key may not be used from this address."


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
    reason = "The token does not exist, or this API key does not allow access to it."
    _note_refusal(row, address, reason, now)
    raise NotAllowed(reason)


def usage_total(row: ApiKey) -> int:
    """The number of access tokens issued for the key."""
    return sum(hand_out.count for hand_out in row.usage_counts)


def require_sending(row: ApiKey, address: str, *, now: datetime) -> None:
    if not row.may_send:
        _refuse(row, address, "This API key may not send mail.", now)


def require_watching(row: ApiKey, address: str, *, now: datetime) -> None:
    if not row.may_read_health:
        _refuse(row, address, "This API key may not read health status.", now)


def _refuse(row: ApiKey, address: str, reason: str, now: datetime) -> None:
    _note_refusal(row, address, reason, now)
    raise NotAllowed(reason)


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
