"""The lists of users and of API keys."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import fn

from portal.access import operator_limits, second_factors
from portal.core.paging import Asked, Listing, Page, in_any
from portal.models import ApiKey, ApiKeyConfig, TokenConfig, UsageCount, User, tuples


@dataclass(frozen=True)
class UserLine:
    """``limits``: names of the token configurations of a limited operator."""

    user: User
    limits: list[str]
    has_second_factor: bool


def users(asked: Asked) -> Page[UserLine]:
    limits, with_factor = operator_limits.by_user(), second_factors.users_with_one()
    sorts = {"name": User.name, "role": User.role, "added": User.created_at}
    found = Listing(in_any(User.name, User.issuer), sorts, user_states()).page(User.select(), asked)
    return found.of(lambda user: UserLine(user, limits[user.id], user.id in with_factor))


def user_states() -> dict[str, Any]:
    return {"disabled": User.disabled_at.is_null(False), "active": True}


@dataclass(frozen=True)
class KeyLine:
    """``issued``: access tokens issued for the key."""

    key: ApiKey
    configs: list[str]
    issued: int


def api_keys(asked: Asked, now: datetime) -> Page[KeyLine]:
    sorts = {"name": ApiKey.name, "expires": ApiKey.ends_at, "used": ApiKey.used_at}
    finds = in_any(ApiKey.name, ApiKey.comment, ApiKey.hint, ApiKey.senders, ApiKey.networks)
    found = Listing(finds, sorts, key_states(now)).page(ApiKey.select(), asked)
    ids = [key.id for key in found.lines]
    configs, issued = _configs(ids), _issued(ids)
    return found.of(lambda key: KeyLine(key, configs.get(key.id, []), issued.get(key.id, 0)))


def key_states(now: datetime) -> dict[str, Any]:
    return {"expired": ApiKey.ends_at <= now, "never used": ApiKey.used_at.is_null(), "in use": True}


def _configs(key_ids: list[int]) -> dict[int, list[str]]:
    rows = ApiKeyConfig.select(ApiKeyConfig.api_key, TokenConfig.name).join(TokenConfig)
    names: dict[int, list[str]] = {}
    for key_id, name in tuples(rows.where(ApiKeyConfig.api_key.in_(key_ids)).order_by(TokenConfig.name)):
        names.setdefault(key_id, []).append(name)
    return names


def _issued(key_ids: list[int]) -> dict[int, int]:
    rows = UsageCount.select(UsageCount.api_key, fn.SUM(UsageCount.count)).where(UsageCount.api_key.in_(key_ids))
    return {key_id: int(total) for key_id, total in tuples(rows.group_by(UsageCount.api_key))}
