"""Service functions for token configurations: add, edit, delete and find them, with their tokens and secrets."""

import re
from datetime import datetime

from portal import providers
from portal.core.db import transaction
from portal.core.errors import InUse, Invalid, NotFound, PortalError
from portal.core.language import Text, _, joined
from portal.core.urls import url_problem
from portal.models import (
    CertificateRenewal,
    ClientSecret,
    Flow,
    MailAccount,
    OutboundProfile,
    Token,
    TokenConfig,
    WebService,
)
from portal.protocols import oidc
from portal.providers import Template
from portal.system import audit, named_rows
from portal.tokens import refresh_results, secret_hosts
from portal.tokens.config_fields import URLS, Fields, NewSecret, check, insert_tenant


def add(template: Template, entered: Fields, secret: NewSecret, *, actor: str, now: datetime) -> TokenConfig:
    """Add a configuration with its first, empty token. Raises Invalid with a message per wrong field."""
    flow = Flow(template.flow)
    insert_tenant(template, entered)
    check(entered, secret.value, flow)
    with named_rows.saving(TokenConfig):
        config = TokenConfig.create(
            template=template.key, flow=flow, created_at=now, changed_at=now, **named_rows.columns(entered)
        )
        Token.create(token_config=config, due_at=now if flow is Flow.CLIENT_CREDENTIALS else None)
        if secret.value:
            _add_secret(config, secret, now)
        audit.about(config, actor, "added", f"from the template {template.name}", now)
    return config


def edit(config: TokenConfig, entered: Fields, secret: NewSecret, *, actor: str, now: datetime) -> None:
    """Change a configuration. A new secret is tried before the existing ones; tokens stay unchanged.

    For another host the secret must be entered again, and tokens and older secrets are removed.
    """
    insert_tenant(providers.of(config.template), entered)
    _follow_tenant(config, entered)
    check(entered, secret.value, config.flow, has_key=config.certificate is not None)
    secret_hosts.require_secret(config, entered, secret.value)
    other_hosts = secret_hosts.new_hosts(config, entered)
    changed = named_rows.assign(config, entered)
    with named_rows.saving(TokenConfig):
        if changed or secret.value:
            config.changed_at = now
        config.save()
        if other_hosts:
            secret_hosts.remove_stored(config)
            audit.about(config, actor, "host-changed", f"now also {', '.join(other_hosts)}; sign-ins removed", now)
        changed += _keep_secret(config, secret, now)
        CertificateRenewal.plan(config, now)
        _go_on(config, changed, now)
        audit.about(config, actor, "edited", audit.changed(changed), now)


def _keep_secret(config: TokenConfig, secret: NewSecret, now: datetime) -> list[str]:
    """Store an entered secret; an expiry date without a value is stored for the secret in use."""
    if secret.value:
        _add_secret(config, secret, now)
        return ["client_secret"]
    used = config.client_secret
    if used is None or used.ends_at == secret.ends_at:
        return []
    used.ends_at = secret.ends_at
    used.save()
    return ["client_secret_ends_at"]


def _follow_tenant(config: TokenConfig, entered: Fields) -> None:
    """Insert a new tenant into the URLs that still equal the template's URLs for the old tenant."""
    template = providers.of(config.template)
    for name in URLS:
        pattern = getattr(template, name)
        if getattr(entered, name) == pattern.replace("{tenant}", config.tenant):
            setattr(entered, name, pattern.replace("{tenant}", entered.tenant))


#: Fields whose change may resume suspended tokens.
_MENDING = {"client_id", "client_secret", "client_auth", "token_url", "refresh_url", "scope", "validity", "tenant"}


def _go_on(config: TokenConfig, changed: list[str], now: datetime) -> None:
    """Resume tokens and dependent rows at once after a change of a field that may have suspended them."""
    if not _MENDING & set(changed):
        return
    refresh_results.resume(config, now=now)
    for token in tokens_of(config):
        refresh_results.schedule_dependents(token, now=now)


def _add_secret(config: TokenConfig, secret: NewSecret, now: datetime) -> None:
    row = ClientSecret.create(token_config=config, set_at=now, ends_at=secret.ends_at)
    row.value = secret.value
    row.save()


def forget_secret(config: TokenConfig, secret_id: int, *, actor: str, now: datetime) -> None:
    """Remove one client secret of a configuration."""
    with transaction():
        row = ClientSecret.get_or_none(ClientSecret.id == secret_id, ClientSecret.token_config == config.id)
        if row is None:
            raise NotFound(_("There is no such client secret."))
        row.delete_instance()
        audit.about(config, actor, "client-secret-removed", f"set on {row.set_at:%Y-%m-%d}", now)


def add_token(config: TokenConfig, *, mailbox: str = "", actor: str, now: datetime) -> Token:
    """Add an empty token, for another mailbox, to a configuration; a service account needs its address.

    At a sign-in, ``mailbox`` is the only account that is accepted; empty: the first one that signs in.
    """
    mailbox = mailbox.strip()
    if config.flow is Flow.CLIENT_CREDENTIALS:
        raise PortalError(
            _(
                "An app-only configuration has one token, which gives access to every mailbox that the application may "
                "use."
            )
        )
    if mailbox or config.flow is Flow.JWT_BEARER:
        return _add_mailbox(config, mailbox, actor, now)
    with transaction():
        token = Token.create(token_config=config)
        audit.about(config, actor, "token-added", "", now)
    return token


def _add_mailbox(config: TokenConfig, mailbox: str, actor: str, now: datetime) -> Token:
    """Add the token of a mailbox; a service account's token is requested at once."""
    _require_address(config, mailbox)
    with transaction():
        # The configuration was created with a token that has no mailbox yet.
        free = Token.select().where(
            Token.token_config == config.id, Token.owner.is_null(), Token.signed_in_at.is_null()
        )
        token: Token = (free.first() if config.flow is Flow.JWT_BEARER else None) or Token.create(token_config=config)
        due_at = now if config.flow is Flow.JWT_BEARER else None
        Token.update(owner=mailbox, due_at=due_at).where(Token.id == token.id).execute()
        audit.about(config, actor, "token-added", mailbox, now)
    added: Token = Token.get_by_id(token.id)
    return added


def name_owner(token: Token, mailbox: str, *, actor: str, now: datetime) -> Token:
    """Set the only account whose sign-in is accepted for a token that has none yet."""
    if token.owner:
        raise PortalError(_("This token belongs to {owner}.", owner=token.owner))
    _require_address(token.token_config, mailbox)
    with transaction():
        audit.about(token, actor, "owner-named", mailbox, now)
        Token.update(owner=mailbox).where(Token.id == token.id, Token.owner.is_null()).execute()
    named: Token = Token.get_by_id(token.id)
    return named


def _require_address(config: TokenConfig, mailbox: str) -> None:
    if not re.fullmatch(r"[^\s@]+@[^\s@]+", mailbox):
        raise Invalid({"mailbox": _("Enter the address of the mailbox.")})
    if Token.select().where(Token.token_config == config.id, Token.owner == mailbox).exists():
        raise Invalid({"mailbox": _("{name!r} has a token for {mailbox} already.", name=config.name, mailbox=mailbox)})


def delete_token(token: Token, *, actor: str, now: datetime) -> None:
    """Delete a token. InUse lists the rows that depend on it, or is raised for the configuration's last token."""
    with transaction():
        if users := _users_of([token.id]):
            raise InUse(_("{name!r} is in use and cannot be deleted. {users}", name=token.name, users=_named(users)))
        if len(tokens_of(token.token_config)) == 1:
            raise InUse(_("The last token of a configuration cannot be deleted. Forget it instead."))
        audit.about(token, actor, "deleted", "the provider is not notified", now)
        token.delete_instance()


def delete(config: TokenConfig, *, actor: str, now: datetime) -> None:
    """Delete a configuration with its tokens; InUse lists the rows that depend on it."""
    users = used_by(config)
    named_rows.delete(config, "with its tokens", users=_named(users) if users else "", actor=actor, now=now)


def discovered(issuer: str) -> dict[str, str]:
    """Return an OpenID provider's endpoints by field name; Invalid if ``issuer`` is not a URL."""
    if problem := url_problem(issuer):
        raise Invalid({"issuer": problem})
    return oidc.discover(issuer)


#: A row that uses a token.
Dependant = MailAccount | OutboundProfile | WebService


def used_by(config: TokenConfig) -> list[Dependant]:
    """Return the mail accounts, outbound profiles and web services that use a token of this configuration."""
    return _users_of([token.id for token in tokens_of(config)])


def _users_of(token_ids: list[int]) -> list[Dependant]:
    found: list[Dependant] = []
    for model in (MailAccount, OutboundProfile, WebService):
        found.extend(list(model.select().where(model.token.in_(token_ids)).order_by(model.name)))
    return found


def _named(users: list[Dependant]) -> str:
    """``Used by mail account Help desk, outbound profile Office.``"""
    names = [joined([Text(row.kind), row.name]) for row in users]
    return _("Used by {names}.", names=joined(names, ", "))


def tokens_of(config: TokenConfig) -> list[Token]:
    return list(Token.select().where(Token.token_config == config.id).order_by(Token.id))


def config_of(reference: str) -> TokenConfig | None:
    """Return the configuration of the reference ``CONFIG`` or ``CONFIG/OWNER``; if several match, the longest name."""
    parts = reference.split("/")
    names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    found = {config.name: config for config in TokenConfig.select().where(TokenConfig.name.in_(names))}
    return next((found[name] for name in names if name in found), None)


def find(reference: str) -> Token:
    """Return the token of ``CONFIG``, ``CONFIG/OWNER`` or ``CONFIG/`` (no owner); Invalid unless exactly one fits."""
    config = config_of(reference) or TokenConfig.named(reference.partition("/")[0])
    query = Token.select().where(Token.token_config == config.id)
    if config.name != reference:
        owner = reference.removeprefix(f"{config.name}/")
        query = query.where(Token.owner == owner if owner else Token.owner.is_null() | (Token.owner == ""))
    tokens = list(query.limit(2))
    if len(tokens) == 1:
        return tokens[0]
    usable = [token.name for token in tokens_of(config) if token.obtained_at and not token.refused_at]
    others = [token.name for token in tokens_of(config) if token.name not in usable]
    known = [_("Valid: {names}.", names=", ".join(usable))] if usable else []
    known += [_("Not valid: {names}.", names=", ".join(others))] if others else []
    raise Invalid(
        {
            "token": _(
                "{reference!r} matches {count} tokens. {names}",
                reference=reference,
                count=query.count(),
                names=" ".join(known),
            )
        }
    )
