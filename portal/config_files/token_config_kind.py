"""Token configurations in configuration files, with the mailboxes that have a token."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal import providers
from portal.config_files.kinds import Author, Kind
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.models import ClientAuth, Flow, TokenConfig
from portal.system import named_rows
from portal.tokens import config_fields, secret_hosts, token_configs
from portal.tokens.config_fields import NewSecret


@dataclass
class Fields(config_fields.Fields):
    """``mailboxes``: addresses that have a token; those that a file does not name are kept."""

    template: str = ""
    client_secret_ends_on: datetime | None = None
    mailboxes: list[str] = field(default_factory=list)


class TokenConfigs(Kind):
    section, model, fields, secret = "token_configs", TokenConfig, Fields, "client_secret"

    def values(self, row: Any) -> dict[str, Any]:
        columns = {name: getattr(row, name) for name in config_fields.Fields.__dataclass_fields__}
        secret, tokens = row.client_secret, token_configs.tokens_of(row)
        return {
            **columns,
            "template": row.template,
            "client_secret_ends_on": secret.ends_at if secret else None,
            "mailboxes": sorted(token.owner for token in tokens if token.owner),
        }

    def new(self, given: dict[str, Any]) -> Fields:
        own = {name: given[name] for name in ("template", "client_secret_ends_on", "mailboxes") if name in given}
        rest = {name: value for name, value in given.items() if name not in own}
        template = providers.find(own.get("template", ""))
        entered = config_fields.from_template(
            template, name=rest.pop("name"), client_id=rest.pop("client_id", ""), **rest
        )
        if template.flow == Flow.AUTHORIZATION_CODE:
            entered.refresh_url = entered.refresh_url or entered.token_url
        return Fields(**named_rows.columns(entered), **own)

    def changed(self, row: Any, given: dict[str, Any], *, has_new_secret: bool) -> Fields:
        entered: Fields = super().changed(row, given, has_new_secret=has_new_secret)
        if has_new_secret:
            entered.client_secret_ends_on = given.get("client_secret_ends_on")
        if entered.template != row.template:
            raise Invalid({"template": f"The template cannot be changed; the existing one is {row.template}."})
        entered.mailboxes = sorted({*self.values(row)["mailboxes"], *entered.mailboxes})
        return entered

    def add(self, entered: Fields, secret: Secret | None, by: Author) -> None:
        new = NewSecret(secret, entered.client_secret_ends_on)
        config = token_configs.add(providers.find(entered.template), _columns(entered), new, actor=by.actor, now=by.now)
        _add_mailboxes(config, entered.mailboxes, by)

    def edit(self, row: TokenConfig, entered: Fields, secret: Secret | None, by: Author) -> None:
        columns = _columns(entered)
        if secret and self.has_secret(row, secret) and not secret_hosts.new_hosts(row, columns):
            secret = None
        new = NewSecret(secret, entered.client_secret_ends_on)
        token_configs.edit(row, columns, new, actor=by.actor, now=by.now)
        _add_mailboxes(row, entered.mailboxes, by)

    def delete(self, row: TokenConfig, by: Author) -> None:
        token_configs.delete(row, actor=by.actor, now=by.now)

    def has_secret(self, row: TokenConfig, secret: Secret) -> bool:
        return any(stored.value == secret for stored in row.client_secrets)

    def is_for_files_only(self, row: Any) -> bool:
        """A client assertion is read from a file of the machine, and sent to the token endpoint."""
        return row.client_auth is ClientAuth.ASSERTION_FILE or bool(row.assertion_file)


def _columns(entered: Fields) -> config_fields.Fields:
    return config_fields.Fields(**{name: getattr(entered, name) for name in config_fields.Fields.__dataclass_fields__})


def _add_mailboxes(config: TokenConfig, mailboxes: list[str], by: Author) -> None:
    """Add the missing tokens; the first one is the token that the configuration was created with."""
    tokens = token_configs.tokens_of(config)
    there = {token.owner for token in tokens}
    for mailbox in mailboxes:
        if mailbox in there:
            continue
        unused = next((token for token in tokens if not token.owner and not token.signed_in_at), None)
        if unused and config.flow is Flow.AUTHORIZATION_CODE:
            token_configs.name_owner(unused, mailbox, actor=by.actor, now=by.now)
            tokens.remove(unused)
        else:
            token_configs.add_token(config, mailbox=mailbox, actor=by.actor, now=by.now)
