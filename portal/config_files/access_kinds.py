"""Users and API keys in configuration files; the API itself may not change them."""

from dataclasses import dataclass, field
from typing import Any

from portal.access import api_keys, operator_limits, users
from portal.config_files.kinds import Author, Kind
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.models import ApiKey, Role, Row, TokenConfig, User


@dataclass
class UserFields:
    """A user with a password. ``configs``: the only configurations on which an operator may act; empty: all."""

    name: str
    role: Role
    configs: list[TokenConfig] = field(default_factory=list)
    disabled: bool = False


class Users(Kind):
    """The password of a file is that of a new user; users change it themselves afterwards."""

    section, model, fields, secret = "users", User, UserFields, "password"

    def rows(self) -> list[Row]:
        return list(User.select().where(User.disabled_at.is_null(), User.issuer == "").order_by(User.name))

    def values(self, row: Any) -> dict[str, Any]:
        configs = sorted(operator_limits.configs_of(row), key=lambda config: str(config.name))
        return {"name": row.name, "role": row.role, "configs": configs, "disabled": row.disabled_at is not None}

    def add(self, entered: UserFields, secret: Secret | None, by: Author) -> None:
        if secret is None:
            raise Invalid({"password": "A new user needs a password."})
        user = users.add(entered.name, entered.role, secret, actor=by.actor, now=by.now)
        self._set_rest(user, entered, by)

    def edit(self, row: User, entered: UserFields, secret: Secret | None, by: Author) -> None:
        if not row.is_local:
            raise Invalid({"name": f"{row.name} signs in at {row.issuer}, which decides the role."})
        if entered.role is not row.role:
            users.set_role(row, entered.role, actor=by.actor, now=by.now)
        self._set_rest(row, entered, by)

    def _set_rest(self, user: User, entered: UserFields, by: Author) -> None:
        present = self.values(user)
        if {config.id for config in present["configs"]} != {config.id for config in entered.configs}:
            operator_limits.limit(user, entered.configs, actor=by.actor, now=by.now)
        if entered.disabled and not present["disabled"]:
            users.disable(user, actor=by.actor, now=by.now)
        elif present["disabled"] and not entered.disabled:
            users.enable(user, actor=by.actor, now=by.now)

    def delete(self, row: User, by: Author) -> None:
        """Users are disabled, so that the audit trail still knows them."""
        users.disable(row, actor=by.actor, now=by.now)

    def has_secret(self, row: User, secret: Secret) -> bool:
        return True

    def is_for_files_only(self, row: User) -> bool:
        return True


class ApiKeys(Kind):
    section, model, fields, secret = "api_keys", ApiKey, api_keys.Fields, "key"

    def values(self, row: Any) -> dict[str, Any]:
        names = [name for name in self.annotations() if name != "configs"]
        configs = sorted((allowed.token_config for allowed in row.token_configs), key=lambda config: str(config.name))
        return {**{name: getattr(row, name) for name in names}, "configs": configs}

    def add(self, entered: api_keys.Fields, secret: Secret | None, by: Author) -> None:
        if secret is None:
            raise Invalid({"key": "A new API key needs the key itself, such as: openssl rand -hex 32."})
        api_keys.add_known(entered, secret, actor=by.actor, now=by.now)

    def edit(self, row: ApiKey, entered: api_keys.Fields, secret: Secret | None, by: Author) -> None:
        changed = None if secret is None or self.has_secret(row, secret) else secret
        api_keys.edit(row, entered, changed, actor=by.actor, now=by.now)

    def delete(self, row: ApiKey, by: Author) -> None:
        api_keys.delete(row, actor=by.actor, now=by.now)

    def has_secret(self, row: ApiKey, secret: Secret) -> bool:
        return bool(row.key_hash == api_keys.hashed(secret.reveal()))

    def is_for_files_only(self, row: ApiKey) -> bool:
        return True
