"""Load and validate the provider templates in this folder; an invalid file does not affect the others."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from portal.core.errors import NotFound, PortalError
from portal.core.language import Text, _

_FOLDER = Path(__file__).parent


class TemplateError(PortalError):
    """A template file is invalid; the message names the file and the reason."""


@dataclass(frozen=True)
class Template:
    """A provider preset. URLs may hold ``{tenant}``; ``issuer`` may hold ``{tid}``, the tenant named in the ID token.

    ``tenant`` is the form's initial value; None: the provider has no tenants.
    ``refresh_token_idle_days`` None: no limit for unused refresh tokens is known.
    """

    key: str
    name: str
    order: int
    scope: str
    authorize_url: str = ""
    token_url: str = ""
    refresh_url: str = ""
    device_url: str = ""
    revocation_url: str = ""
    #: ``authorization_code``, ``client_credentials`` or ``jwt_bearer``.
    flow: str = "authorization_code"
    tenant: str | None = None
    tenant_editable: bool = False
    authorize_parameters: dict[str, str] = field(default_factory=dict)
    scope_in_code_exchange: bool = False
    scope_in_refresh: bool = False
    #: Whether login_hint is sent; Microsoft does not accept it together with prompt=select_account.
    login_hint: bool = False
    issuer: str = ""
    jwks_url: str = ""
    userinfo_url: str = ""
    owner_claims: list[str] = field(default_factory=lambda: ["email"])
    refresh_token_idle_days: int | None = None
    notify_expired_token: bool = False
    notify_expired_refresh_token: bool = True
    #: The host of the Microsoft Graph API in the provider's cloud; empty: the provider is not Microsoft.
    graph_host: str = ""
    imap_host: str = ""
    #: Empty: same as ``imap_host``.
    pop3_host: str = ""
    smtp_host: str = ""
    #: SMTPS, SMTPTLS or SMTP, as Znuny names them.
    smtp_type: str = "SMTPTLS"
    #: Messages a minute; 0: no limit is known.
    smtp_per_minute: int = 0
    smtp_recipients_per_day: int = 0
    smtp_connections: int = 1
    guide: list[str] = field(default_factory=list)

    @property
    def refresh_token_idle_life(self) -> timedelta | None:
        return timedelta(days=self.refresh_token_idle_days) if self.refresh_token_idle_days else None


_FLOWS = ("authorization_code", "client_credentials", "jwt_bearer")
_REQUIRED = {"name": str, "order": int, "scope": str}
_OPTIONAL = {
    **dict.fromkeys(
        (
            "flow",
            "authorize_url",
            "token_url",
            "refresh_url",
            "device_url",
            "revocation_url",
            "tenant",
            "issuer",
            "jwks_url",
            "userinfo_url",
        ),
        str,
    ),
    **dict.fromkeys(("tenant_editable", "scope_in_code_exchange", "scope_in_refresh", "login_hint"), bool),
    **dict.fromkeys(("notify_expired_token", "notify_expired_refresh_token"), bool),
    **dict.fromkeys(("owner_claims", "guide"), list),
    "authorize_parameters": dict,
    "refresh_token_idle_days": int,
    **dict.fromkeys(("graph_host", "imap_host", "pop3_host", "smtp_host", "smtp_type"), str),
    **dict.fromkeys(("smtp_per_minute", "smtp_recipients_per_day", "smtp_connections"), int),
}


def offered() -> list[Template]:
    """All valid templates, in display order."""
    return sorted(_all()[0].values(), key=lambda template: template.order)


def broken() -> list[str]:
    """One error message for each invalid template file."""
    return _all()[1]


def find(key: str) -> Template:
    """The template with this key. Raise NotFound, which lists the available keys."""
    found = _all()[0].get(key)
    if found is None:
        raise NotFound(
            _(
                "There is no template {key!r}. Available templates: {names}.",
                key=key,
                names=", ".join(t.key for t in offered()),
            )
        )
    return found


def of(key: str) -> Template:
    """The template of an existing configuration; an empty one if its file is missing or invalid."""
    return _all()[0].get(key) or Template(key=key, name=_("{key} (template missing)", key=key), order=0, scope="")


@cache
def _all() -> tuple[dict[str, Template], list[str]]:
    return load_folder(_FOLDER)


def load_folder(folder: Path) -> tuple[dict[str, Template], list[str]]:
    """The valid templates of a folder by key, and one error message for each invalid file."""
    templates, problems = {}, []
    for path in sorted(folder.glob("*.yml")):
        try:
            templates[path.stem] = load(path)
        except TemplateError as error:
            problems.append(str(error))
    return templates, problems


def load(path: Path) -> Template:
    """Load one template. Raise TemplateError if the file is not a valid template."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise TemplateError(f"Template {path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TemplateError(_("Template {name}: the file is not a map of field names to values", name=path.name))
    _check(path.name, content)
    texts = {"name": Text(content["name"]), "guide": [Text(str(step)) for step in content.get("guide", [])]}
    return Template(key=path.stem, **(content | texts))


def _check(file: str, content: dict[str, Any]) -> None:
    if missing := _REQUIRED.keys() - content.keys():
        raise TemplateError(_("Template {file}: {names} is missing", file=file, names=", ".join(sorted(missing))))
    kinds = _REQUIRED | _OPTIONAL
    for name, value in content.items():
        if name not in kinds:
            raise TemplateError(_("Template {file}: {name!r} is not a field of a template", file=file, name=name))
        if not isinstance(value, kinds[name]):
            raise TemplateError(
                _("Template {file}: {name} must be a {kind}", file=file, name=name, kind=kinds[name].__name__)
            )
    if content.get("flow", "authorization_code") not in _FLOWS:
        raise TemplateError(_("Template {file}: flow must be {names}", file=file, names=" or ".join(_FLOWS)))
