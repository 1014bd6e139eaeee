"""Service functions for token configurations: add, edit, delete and find them, with their tokens and secrets."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from portal import providers
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import InUse, Invalid, NotFound, PortalError
from portal.core.loopback import is_loopback
from portal.models import (
    ClientAuth,
    ClientSecret,
    Flow,
    MailAccount,
    OutboundProfile,
    Token,
    TokenConfig,
    Validity,
    WebService,
    text_problems,
)
from portal.protocols import oidc
from portal.providers import Template
from portal.system import audit, named_rows
from portal.tokens import refresh_results


@dataclass
class Fields:
    """The values that an administrator enters, named as the columns."""

    name: str
    client_id: str
    token_url: str
    authorize_url: str = ""
    refresh_url: str = ""
    device_url: str = ""
    revocation_url: str = ""
    client_auth: ClientAuth = ClientAuth.SECRET_POST
    scope: str = ""
    tenant: str = ""
    issuer: str = ""
    jwks_url: str = ""
    userinfo_url: str = ""
    validity: Validity = Validity.VALID
    notify_expired_token: bool = False
    notify_expired_refresh_token: bool = True
    in_testing: bool = False


@dataclass(frozen=True)
class NewSecret:
    """An entered client secret. ``value`` None keeps the stored secret; ``ends_at`` None: expiry unknown."""

    value: Secret | None = None
    ends_at: datetime | None = None


URLS = ("authorize_url", "token_url", "refresh_url", "device_url", "revocation_url", "jwks_url", "userinfo_url")
#: Required fields of each flow.
_REQUIRED = {
    Flow.AUTHORIZATION_CODE: ("name", "client_id", "authorize_url", "token_url", "refresh_url"),
    Flow.CLIENT_CREDENTIALS: ("name", "client_id", "token_url"),
}


def from_template(template: Template, *, name: str, client_id: str, tenant: str = "", **given: Any) -> Fields:
    """Return the template's values with the tenant inserted; non-empty ``given`` values take precedence."""
    tenant = tenant or template.tenant or ""
    urls = {key: getattr(template, key).replace("{tenant}", tenant) for key in URLS}
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


def add(template: Template, entered: Fields, secret: NewSecret, *, actor: str, now: datetime) -> TokenConfig:
    """Add a configuration with its first, empty token. Raises Invalid with a message per wrong field."""
    flow = Flow(template.flow)
    require_tenant(template, entered)
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
    """Change a configuration. A new secret is tried before the existing ones; tokens stay unchanged."""
    require_tenant(providers.of(config.template), entered)
    _follow_tenant(config, entered)
    check(entered, secret.value, config.flow, has_key=config.certificate is not None)
    changed = named_rows.assign(config, entered)
    with named_rows.saving(TokenConfig):
        if changed or secret.value:
            config.changed_at = now
        config.save()
        changed += _keep_secret(config, secret, now)
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


def require_tenant(template: Template, entered: Fields) -> None:
    if template.tenant is not None and not entered.tenant:
        raise Invalid({"tenant": "Enter a tenant ID or domain."})


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
            raise NotFound("There is no such client secret.")
        row.delete_instance()
        audit.about(config, actor, "client-secret-removed", f"set on {row.set_at:%Y-%m-%d}", now)


def add_token(config: TokenConfig, *, actor: str, now: datetime) -> Token:
    """Add an empty token, for another mailbox, to a configuration."""
    if config.flow is Flow.CLIENT_CREDENTIALS:
        raise PortalError(
            "An app-only configuration has one token, which gives access to every mailbox that the application may use."
        )
    with transaction():
        token = Token.create(token_config=config)
        audit.about(config, actor, "token-added", "", now)
    return token


def delete_token(token: Token, *, actor: str, now: datetime) -> None:
    """Delete a token. InUse lists the rows that depend on it, or is raised for the configuration's last token."""
    with transaction():
        if users := _users_of([token.id]):
            raise InUse(f"{token.name!r} is in use and cannot be deleted. {_named(users)}")
        if len(tokens_of(token.token_config)) == 1:
            raise InUse("The last token of a configuration cannot be deleted. Forget it instead.")
        audit.about(token, actor, "deleted", "the provider is not notified", now)
        token.delete_instance()


def delete(config: TokenConfig, *, actor: str, now: datetime) -> None:
    """Delete a configuration with its tokens; InUse lists the rows that depend on it."""
    users = used_by(config)
    named_rows.delete(config, "with its tokens", users=_named(users) if users else "", actor=actor, now=now)


def discovered(issuer: str) -> dict[str, str]:
    """Return an OpenID provider's endpoints by field name; Invalid if ``issuer`` is not a URL."""
    if problem := _url_problem(issuer):
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
    return f"Used by {', '.join(f'{row.kind} {row.name}' for row in users)}."


def check(
    entered: Fields, secret: Secret | None, flow: Flow = Flow.AUTHORIZATION_CODE, *, has_key: bool = False
) -> None:
    """Validate the entered values; raises Invalid with a message per wrong field."""
    if entered.client_auth is ClientAuth.PRIVATE_KEY_JWT and not has_key:
        raise Invalid({"client_auth": "This client has no certificate. Save, then create or upload one."})
    problems = {name: "This field is required." for name in _REQUIRED[flow] if not getattr(entered, name)}
    problems |= text_problems(TokenConfig, asdict(entered))
    for name in URLS:
        if getattr(entered, name) and name not in problems and (problem := _url_problem(getattr(entered, name))):
            problems[name] = problem
    if secret and re.search(r"[\x00-\x20\x7f]", secret.reveal()):
        problems["client_secret"] = "The secret contains a space or a line break. Copy the Value again."
    if problems:
        raise Invalid(problems)


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "This is not a URL."
    if parts.scheme not in ("https", "http") or not host or " " in url:
        return "Enter a URL that begins with https://."
    if parts.scheme == "http" and not is_loopback(host):
        return "Use https: requests to this URL carry the client secret. http is accepted for localhost only."
    if "{" in url:
        return "Enter a tenant, or replace the part in braces."
    return None


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
    tokens = tokens_of(config)
    if config.name != reference:
        tokens = [token for token in tokens if (token.owner or "") == reference.removeprefix(f"{config.name}/")]
    if len(tokens) == 1:
        return tokens[0]
    names = ", ".join(token.name for token in tokens_of(config))
    raise Invalid({"token": f"{reference!r} matches {len(tokens)} tokens. Available tokens: {names}."})
