"""Identity providers: add, change and delete the OpenID Connect providers at which users sign in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.access import external_users
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Invalid
from portal.core.language import _
from portal.core.urls import url_problem
from portal.models import IdentityProvider, User, text_problems
from portal.protocols import oidc
from portal.system import audit, named_rows, settings

_GROUPS = ("admin_groups", "operator_groups", "auditor_groups", "viewer_groups")


@dataclass
class Fields:
    """The values that an administrator enters, named like the columns."""

    name: str
    issuer: str
    client_id: str
    scope: str = "openid profile email"
    groups_claim: str = "groups"
    admin_groups: str = ""
    operator_groups: str = ""
    auditor_groups: str = ""
    viewer_groups: str = ""


def redirect_uri() -> str:
    """The redirect URI to register at the provider; not the one of mailboxes, so that no response fits both."""
    return f"{settings.portal_url()}login/answer"


def add(entered: Fields, secret: Secret | None, *, actor: str, now: datetime) -> IdentityProvider:
    """Read the provider's discovery document and store it. Raises Invalid with a message for each invalid field."""
    _check(entered)
    endpoints = _endpoints(entered.issuer)
    _check_unique(endpoints["issuer"], None)
    with named_rows.saving(IdentityProvider):
        row = IdentityProvider.create(created_at=now, changed_at=now, **{**named_rows.columns(entered), **endpoints})
        row.client_secret = secret
        row.save()
        audit.about(row, actor, "added", f"{row.issuer}; {_groups(row)}", now)
    return row


def edit(row: IdentityProvider, entered: Fields, secret: Secret | None, *, actor: str, now: datetime) -> None:
    """Change a provider; its endpoints are read anew. Another issuer needs the client secret again."""
    _check(entered)
    endpoints = _endpoints(entered.issuer)
    if endpoints["issuer"] != row.issuer and row.has_secret and not secret:
        raise Invalid({"client_secret": _("The issuer changed: enter the client secret that belongs to it.")})
    _check_unique(endpoints["issuer"], row)
    before = row.issuer
    changed = named_rows.assign(row, entered)
    for name, value in endpoints.items():
        setattr(row, name, value)
    if secret:
        row.client_secret = secret
    with named_rows.saving(IdentityProvider):
        row.changed_at = now
        row.save()
        moved = f"; issuer {before} → {row.issuer}" if before != row.issuer else ""
        audit.about(row, actor, "edited", f"{audit.changed(changed)}{moved}; {_groups(row)}", now)


def delete(row: IdentityProvider, *, actor: str, now: datetime) -> None:
    """Delete a provider; its users can no longer sign in. Their open sessions end."""
    count = User.select().where(User.issuer == row.issuer, User.disabled_at.is_null()).count()
    User.end_sessions_of(row.issuer)
    named_rows.delete(row, f"{row.issuer}; {count} users can no longer sign in", actor=actor, now=now)


def _check_unique(issuer: str, row: IdentityProvider | None) -> None:
    """Raise Invalid if another provider has the issuer: its users would be the same ones (RFC 9207 section 4)."""
    other = IdentityProvider.get_or_none(IdentityProvider.issuer == issuer)
    if other is not None and (row is None or other.id != row.id):
        raise Invalid({"issuer": _("{name} has this issuer already.", name=other.name)})


def _groups(row: IdentityProvider) -> str:
    by_role = {"admins": row.admin_groups, "operators": row.operator_groups, "auditors": row.auditor_groups,
               "viewers": row.viewer_groups}  # fmt: skip
    return "; ".join(f"{role}: {names}" for role, names in by_role.items() if names)


def _check(entered: Fields) -> None:
    for name in _GROUPS:
        setattr(entered, name, ", ".join(external_users.group_names(getattr(entered, name))))
    problems = text_problems(IdentityProvider, named_rows.columns(entered))
    problems |= {
        name: _("This field is required.") for name in ("name", "issuer", "client_id") if not getattr(entered, name)
    }
    if "openid" not in entered.scope.split():
        problems["scope"] = _("The scope must contain openid.")
    if not any(getattr(entered, name) for name in _GROUPS):
        problems["viewer_groups"] = _("Enter at least one group; users without a group cannot sign in.")
    if entered.issuer and (problem := url_problem(entered.issuer)):
        problems["issuer"] = problem
    if problems:
        raise Invalid(problems)


def _endpoints(issuer: str) -> dict[str, Any]:
    """Return the published endpoints by column name."""
    try:
        found = oidc.discover(issuer)
    except ExternalError as error:
        raise Invalid({"issuer": str(error)}) from error
    if missing := [name for name in ("authorize_url", "token_url", "jwks_url") if not found.get(name)]:
        raise Invalid({"issuer": _("The provider publishes no {name} endpoint.", name=missing[0].removesuffix("_url"))})
    if "{tid}" in found["issuer"]:
        # A token of any tenant would fit it, and its administrator decides about groups and roles.
        raise Invalid({"issuer": _("This issuer is shared by all tenants. Enter the issuer of your tenant.")})
    if wrong := [url for name, url in found.items() if name.endswith("_url") and url_problem(url)]:
        raise Invalid(
            {
                "issuer": _(
                    "The provider publishes {url}. {problem}",
                    url=wrong[0][:200],
                    problem=url_problem(wrong[0]),
                )
            }
        )
    names = ("issuer", "authorize_url", "token_url", "jwks_url", "userinfo_url", "end_session_url")
    return {name: found.get(name, "") for name in names} | {"sends_issuer": "sends_issuer" in found}
