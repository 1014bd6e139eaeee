"""The values of a token configuration that an administrator enters: from a template, completed and checked."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.language import _
from portal.core.urls import url_problem
from portal.models import ClientAuth, Flow, TokenConfig, Validity, text_problems
from portal.providers import Template
from portal.tokens import constant_parameters, microsoft_rules


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
    assertion_file: str = ""
    app_object_id: str = ""
    scope: str = ""
    authorize_parameters: str = ""
    token_parameters: str = ""
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
#: The place of the tenant in a URL, as the templates, Microsoft's and Znuny's pages write it.
_TENANT = r"\{ten[ae]nt(_?id)?\}"
#: Required fields of each flow.
_REQUIRED = {
    Flow.AUTHORIZATION_CODE: ("name", "client_id", "authorize_url", "token_url", "refresh_url"),
    Flow.CLIENT_CREDENTIALS: ("name", "client_id", "token_url"),
    Flow.JWT_BEARER: ("name", "client_id", "token_url"),
}


def from_template(template: Template, *, name: str, client_id: str, tenant: str = "", **given: Any) -> Fields:
    """Return the template's values with the tenant inserted; non-empty ``given`` values take precedence."""
    tenant = tenant or template.tenant or ""
    urls = {key: getattr(template, key).replace("{tenant}", tenant) for key in URLS}
    preset = {
        **urls,
        "scope": template.scope,
        "authorize_parameters": constant_parameters.written(template.authorize_parameters),
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


def insert_tenant(template: Template, entered: Fields) -> None:
    """Insert the tenant into the entered URLs. Raises Invalid if it is missing, or is no tenant."""
    if template.tenant is not None and not entered.tenant:
        raise Invalid({"tenant": _("Enter a tenant ID or domain.")})
    if not entered.tenant:
        return
    app_only = template.flow == Flow.CLIENT_CREDENTIALS and entered.validity is Validity.VALID
    if problem := microsoft_rules.tenant_problem(entered.tenant, app_only=app_only):
        raise Invalid({"tenant": problem})
    for name in URLS:
        setattr(entered, name, re.sub(_TENANT, entered.tenant, getattr(entered, name), flags=re.IGNORECASE))


def check(
    entered: Fields, secret: Secret | None, flow: Flow = Flow.AUTHORIZATION_CODE, *, has_key: bool = False
) -> None:
    """Validate the entered values; raises Invalid with a message per wrong field."""
    if entered.client_auth is ClientAuth.PRIVATE_KEY_JWT and not has_key:
        raise Invalid({"client_auth": _("This client has no certificate. Save, then create or upload one.")})
    problems = {name: _("This field is required.") for name in _REQUIRED[flow] if not getattr(entered, name)}
    if entered.client_auth is ClientAuth.ASSERTION_FILE and not entered.assertion_file.startswith("/"):
        problems["assertion_file"] = _("Enter the path of the file, which begins with /.")
    if entered.app_object_id and (renewal_problem := _renewal_problem(entered)):
        problems["app_object_id"] = renewal_problem
    problems |= text_problems(TokenConfig, asdict(entered))
    for name in URLS:
        if getattr(entered, name) and name not in problems and (problem := url_problem(getattr(entered, name))):
            problems[name] = problem
    for name in ("authorize_parameters", "token_parameters"):
        if problem := constant_parameters.problem(getattr(entered, name)):
            problems[name] = problem
    if secret and flow is not Flow.JWT_BEARER and re.search(r"[\x00-\x20\x7f]", secret.reveal()):
        problems["client_secret"] = _("The secret contains a space or a line break. Copy the Value again.")
    if (
        entered.validity is Validity.VALID
        and "token_url" not in problems
        and microsoft_rules.is_microsoft(entered.token_url)
    ):
        problems |= _microsoft_problems(entered, secret, flow)
    if problems:
        raise Invalid(problems)


def _microsoft_problems(entered: Fields, secret: Secret | None, flow: Flow) -> dict[str, str]:
    app_only = flow is Flow.CLIENT_CREDENTIALS
    found = {
        "scope": microsoft_rules.scope_problem(entered.scope, app_only=app_only),
        "client_secret": microsoft_rules.secret_problem(secret.reveal()) if secret else "",
        "token_url": microsoft_rules.shared_endpoint_problem(entered.token_url) if app_only else "",
    }
    return {name: problem for name, problem in found.items() if problem}


def _renewal_problem(entered: Fields) -> str:
    """Why the certificate cannot be renewed; empty: no problem."""
    if entered.client_auth is not ClientAuth.PRIVATE_KEY_JWT:
        return _("Only a certificate is renewed. Choose it as the client authentication, or leave this field empty.")
    if not microsoft_rules.is_object_id(entered.app_object_id):
        return _("Enter the Object ID of the app registration, 32 digits and letters with hyphens.")
    return microsoft_rules.shared_endpoint_problem(entered.token_url)
