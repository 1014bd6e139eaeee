"""Operators of named token configurations: what belongs to a configuration, and who may act on it."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from portal.core.db import transaction
from portal.models import Role, Row, Token, TokenConfig, User, UserConfig
from portal.system import audit

#: Columns that lead from a row to the token that it uses.
_OWNERS = ("token", "mail_account", "profile", "web_service")


def limit(user: User, configs: Sequence[TokenConfig], *, actor: str, now: datetime) -> None:
    """Limit the operator's actions to these configurations and what uses them; empty: no limit."""
    with transaction():
        UserConfig.delete().where(UserConfig.user == user).execute()
        for config in configs:
            UserConfig.create(user=user, token_config=config)
        User.update(is_limited=bool(configs)).where(User.id == user.id).execute()
        audit.about(user, actor, "limited", ", ".join(config.name for config in configs) or "all configurations", now)


def configs_of(user: User) -> list[TokenConfig]:
    """The configurations to which the user's actions are limited; empty: no limit."""
    return [row.token_config for row in UserConfig.select().where(UserConfig.user == user)]


def by_user() -> defaultdict[int, list[str]]:
    """The names of the configurations of each limited user, by user id."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    rows = UserConfig.select(UserConfig, TokenConfig).join(TokenConfig).order_by(TokenConfig.name)
    for row in rows:
        found[row.__data__["user"]].append(row.token_config.name)
    return found


def is_limited(user: User) -> bool:
    """Whether the user is an operator of named configurations; also after the last of these was deleted."""
    return user.role is Role.OPERATOR and user.is_limited


def may_act_on(user: User, row: Row | None) -> bool:
    """Whether a limited operator may act on the row: the token configuration that it uses must be allowed.

    A row without a configuration, such as an account with a password, is for operators without a limit.
    """
    config = _config_of(row)
    allowed = UserConfig.select().where(UserConfig.user == user, UserConfig.token_config == config)
    return config is not None and allowed.exists()


def _config_of(row: Row | None) -> TokenConfig | None:
    if row is None or isinstance(row, TokenConfig):
        return row
    if isinstance(row, Token):
        return row.token_config
    owner = next((name for name in _OWNERS if name in row._meta.fields), None)
    return _config_of(getattr(row, owner)) if owner else None
