"""Registering and changing the client of a provider."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from peewee import IntegrityError

from portal import audit, providers, refreshing
from portal.db import transaction
from portal.errors import InUse, Invalid
from portal.models import ClientSecret, MailAccount, Token, TokenConfig, Validity, text_problems
from portal.providers import Template
from portal.sealing import Secret

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAME_TAKEN = "A token configuration with this name exists."


@dataclass
class Fields:
    """What an admin enters; the names are those of the columns."""

    name: str
    client_id: str
    authorize_url: str
    token_url: str
    refresh_url: str
    scope: str = ""
    tenant: str = ""
    issuer: str = ""
    jwks_url: str = ""
    userinfo_url: str = ""
    validity: Validity = Validity.VALID
    notify_expired_token: bool = False
    notify_expired_refresh_token: bool = True


_URLS = ("authorize_url", "token_url", "refresh_url")
_OPTIONAL_URLS = ("jwks_url", "userinfo_url")


def from_template(template: Template, *, name: str, client_id: str, tenant: str = "", **given: Any) -> Fields:
    """The template's values with the tenant put in; what is given by hand wins."""
    tenant = tenant or template.tenant or ""
    urls = {key: getattr(template, key).replace("{tenant}", tenant) for key in (*_URLS, *_OPTIONAL_URLS)}
    preset = {
        **urls,
        "scope": template.scope,
        "issuer": template.issuer,
        "notify_expired_token": template.notify_expired_token,
        "notify_expired_refresh_token": template.notify_expired_refresh_token,
    }
    return Fields(
        name=name,
        client_id=client_id,
        tenant=tenant,
        **{**preset, **{k: v for k, v in given.items() if v not in (None, "")}},
    )


def add(template: Template, entered: Fields, secret: Secret | None, *, actor: str, now: datetime) -> TokenConfig:
    """Register a client with its first, still empty token. Invalid names each bad field."""
    check(entered, secret)
    if template.tenant is not None and not entered.tenant:
        raise Invalid({"tenant": "The tenant ID or domain of the organisation."})
    try:
        with transaction():
            config = TokenConfig.create(template=template.key, created_at=now, changed_at=now, **asdict(entered))
            Token.create(token_config=config)
            if secret:
                _add_secret(config, secret, now)
            audit.about(config, actor, "added", f"from the template {template.name}", now)
    except IntegrityError as error:
        raise Invalid({"name": _NAME_TAKEN}) from error
    return config


def edit(config: TokenConfig, entered: Fields, secret: Secret | None, *, actor: str, now: datetime) -> None:
    """Change a configuration. ``secret`` None keeps the one there is; no change touches a token."""
    _follow_tenant(config, entered)
    check(entered, secret)
    changed = [name for name, value in asdict(entered).items() if getattr(config, name) != value]
    for name in changed:
        setattr(config, name, getattr(entered, name))
    try:
        with transaction():
            if changed or secret:
                config.changed_at = now
            if secret:
                _add_secret(config, secret, now)
            config.save()
            _go_on(config, changed, secret, now)
            audit.about(config, actor, "edited", audit.changed([*changed, *(["client_secret"] if secret else [])]), now)
    except IntegrityError as error:
        raise Invalid({"name": _NAME_TAKEN}) from error


def _follow_tenant(config: TokenConfig, entered: Fields) -> None:
    """A new tenant goes into the URLs that are still as the template made them from the old one."""
    template = providers.of(config.template)
    for name in (*_URLS, *_OPTIONAL_URLS):
        pattern = getattr(template, name)
        if getattr(entered, name) == pattern.replace("{tenant}", config.tenant):
            setattr(entered, name, pattern.replace("{tenant}", entered.tenant))


def _go_on(config: TokenConfig, changed: list[str], secret: Secret | None, now: datetime) -> None:
    """What may have stood still because of the old values is tried again at once."""
    if not secret and not {"client_id", "token_url", "refresh_url", "scope", "validity"} & set(changed):
        return
    refreshing.resume(config, now=now)
    for token in tokens_of(config):
        refreshing.wake_dependants(token, now=now)


def _add_secret(config: TokenConfig, secret: Secret, now: datetime) -> None:
    row = ClientSecret.create(token_config=config, set_at=now)
    row.value = secret
    row.save()


def delete(config: TokenConfig, *, actor: str, now: datetime) -> None:
    """Delete a configuration with its tokens; InUse names what depends on it."""
    with transaction():
        users = used_by(config)
        if users:
            names = ", ".join(account.name for account in users)
            raise InUse(f"{config.name!r} is in use and cannot be deleted. Mail accounts that use it: {names}.")
        audit.about(config, actor, "deleted", "with its tokens", now)
        config.delete_instance()


def used_by(config: TokenConfig) -> list[MailAccount]:
    """The mail accounts that sign in with a token of this configuration."""
    return list(MailAccount.select().join(Token).where(Token.token_config == config.id).order_by(MailAccount.name))


def check(entered: Fields, secret: Secret | None) -> None:
    """Raise Invalid unless every value can be sent to a provider as it is."""
    problems = {name: "This field is required." for name in ("name", "client_id", *_URLS) if not getattr(entered, name)}
    problems |= text_problems(TokenConfig, asdict(entered))
    for name in (*_URLS, *_OPTIONAL_URLS):
        if getattr(entered, name) and name not in problems and (problem := _url_problem(getattr(entered, name))):
            problems[name] = problem
    if secret and re.search(r"[\x00-\x20\x7f]", secret.reveal()):
        problems["client_secret"] = "It has a blank or a line break in it; copy the Value again."
    if problems:
        raise Invalid(problems)


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "This is not a URL."
    if parts.scheme not in ("https", "http") or not host or " " in url:
        return "A URL that begins with https://."
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "Only https: it carries the client secret. (http is taken for this machine itself alone.)"
    if "{" in url:
        return "Enter a tenant, or replace the part in braces."
    return None


def tokens_of(config: TokenConfig) -> list[Token]:
    return list(Token.select().where(Token.token_config == config.id).order_by(Token.id))


def find(reference: str) -> Token:
    """The token that ``CONFIG`` or ``CONFIG/OWNER`` names; Invalid when it names several."""
    name, _, owner = reference.partition("/")
    config = TokenConfig.get_or_none(TokenConfig.name == reference) or TokenConfig.named(name)
    tokens = tokens_of(config)
    if config.name != reference:
        tokens = [token for token in tokens if token.owner == owner]
    if len(tokens) == 1:
        return tokens[0]
    names = ", ".join(token.name for token in tokens_of(config))
    raise Invalid({"token": f"{reference!r} names {len(tokens)} tokens; there are {names}."})
