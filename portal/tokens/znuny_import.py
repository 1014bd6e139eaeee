"""Converts token configurations exported by Znuny 6.3 to 7.2 into records for ``portal.transfer``."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from portal.core.language import _, joined
from portal.tokens import microsoft_rules

_VALIDITY = {"1": "valid", "2": "invalid", "3": "invalid-temporarily"}
#: The database stores 0 and 1, JSON text may have true.
_TRUE = ("1", "True")
_MICROSOFT = {
    "login.microsoftonline.com": "microsoft",
    "login.microsoftonline.us": "microsoft-us-gov",
    "login.partner.microsoftonline.cn": "microsoft-china",
}


def is_record(item: Mapping[str, Any]) -> bool:
    return "Name" in item and bool(_config(item))


def _config(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's configuration, which some exports and the database store as JSON text; empty: none."""
    found = item.get("Config")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def record(item: Mapping[str, Any]) -> dict[str, Any]:
    """Convert one Znuny record; without AuthFlow it uses the authorization code flow."""
    config = _config(item)
    app_only = config.get("AuthFlow") == "ClientCredentials"
    token = "TokenByClientCredentials" if app_only else "TokenByAuthorizationCode"
    token_url = _url(config, token)
    template, tenant = _template(token_url, _text(config, "Scope"), app_only=app_only)
    notifications = _part(config, "Notifications")
    found = {
        "name": item["Name"],
        "template": template,
        "tenant": tenant,
        "client_id": _text(config, "ClientID"),
        "client_secret": _text(config, "ClientSecret"),
        "authorize_url": _url(config, "AuthorizationCode"),
        "token_url": token_url,
        "refresh_url": _url(config, "TokenByRefreshToken"),
        "scope": _text(config, "Scope"),
        "authorize_parameters": _constants(config, "AuthorizationCode"),
        "token_parameters": _constants(config, token),
        "validity": _VALIDITY.get(str(item.get("ValidID", "1")), "invalid"),
        "notify_expired_token": _text(notifications, "NotifyOnExpiredToken") in _TRUE,
        "notify_expired_refresh_token": _text(notifications, "NotifyOnExpiredRefreshToken") in _TRUE,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _part(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the mapping at a path of keys; empty: there is none."""
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    """Return a value as text: in JSON, a client ID of digits is a number."""
    value = values.get(name)
    return "" if value is None else str(value)


def _url(config: Mapping[str, Any], request: str) -> str:
    url = _part(config, "Requests", request, "Request").get("URL")
    return url if isinstance(url, str) else ""


#: Keys of a configuration that are imported, or say nothing that the portal needs.
_KNOWN = {"AuthFlow", "TemplateName", "ClientID", "ClientSecret", "Scope", "Notifications", "Requests"}
_REQUESTS = {"AuthorizationCode", "TokenByAuthorizationCode", "TokenByRefreshToken", "TokenByClientCredentials"}
#: Response fields of RFC 6749; the portal reads these, whatever Znuny's mapping says.
_RESPONSES = {"code", "state", "access_token", "expires_in", "refresh_token", "error", "error_description",
              "error_codes"}  # fmt: skip


def not_imported(item: Mapping[str, Any]) -> list[str]:
    """Return what of a Znuny record the portal leaves out, as sentences."""
    config = _config(item)
    requests = _part(config, "Requests")
    left = sorted(config.keys() - _KNOWN) + sorted(requests.keys() - _REQUESTS)
    for name in requests:
        fields = _part(requests, name, "Response", "ParametersMapping").keys() - _RESPONSES
        left += [_("the response field {field} of {name}", field=field, name=name) for field in sorted(fields)]
    found = [_("Not imported: {names}.", names=joined(left, ", "))] if left else []
    if "openid" not in _text(config, "Scope").split():
        found.append(
            _("The scope does not reveal which account signs in. Add openid email to it to have that checked.")
        )
    return found


#: Constants of Znuny's templates that the portal sets itself.
_OWN_CONSTANTS = ("response_type", "grant_type")


def _constants(config: Mapping[str, Any], request: str) -> str:
    """Return the constant parameters of a request as a query string."""
    given = _part(config, "Requests", request, "Request", "Parameters")
    return urlencode({str(name): str(value) for name, value in given.items() if name not in _OWN_CONSTANTS})


def _template(token_url: str, scope: str, *, app_only: bool) -> tuple[str, str]:
    """Return the template for this token endpoint and scope, and the tenant in the endpoint's path."""
    try:
        parts = urlsplit(token_url)
    except ValueError:
        parts = urlsplit("")
    if cloud := _MICROSOFT.get(parts.hostname or ""):
        tenant = parts.path.strip("/").partition("/")[0]
        return _microsoft_template(cloud, tenant, scope, app_only=app_only), tenant
    if parts.hostname == "oauth2.googleapis.com":
        return "google", ""
    return ("generic-app" if app_only else "generic"), ""


def _microsoft_template(cloud: str, tenant: str, scope: str, *, app_only: bool) -> str:
    if not microsoft_rules.access_problem(scope, "Graph") and microsoft_rules.access_problem(scope, "IMAP"):
        cloud = cloud.replace("microsoft", "microsoft-graph", 1)
    if app_only:
        return f"{cloud}-app"
    known = ("common", "organizations", "consumers") if cloud == "microsoft" else ("organizations",)
    return f"{cloud}-{tenant}" if tenant in known else f"{cloud}-tenant"
