"""Converts token configurations exported by Znuny 6.3 to 7.2 into records for ``portal.transfer``."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_VALIDITY = {"1": "valid", "2": "invalid", "3": "invalid-temporarily"}
_MICROSOFT = {
    "login.microsoftonline.com": "microsoft",
    "login.microsoftonline.us": "microsoft-us-gov",
    "login.partner.microsoftonline.cn": "microsoft-china",
}


def is_record(item: Mapping[str, Any]) -> bool:
    return "Name" in item and isinstance(item.get("Config"), dict)


def record(item: Mapping[str, Any]) -> dict[str, Any]:
    """Convert one Znuny record; without AuthFlow it uses the authorization code flow."""
    config = item["Config"]
    app_only = config.get("AuthFlow") == "ClientCredentials"
    token = "TokenByClientCredentials" if app_only else "TokenByAuthorizationCode"
    token_url = _url(config, token)
    template, tenant = _template(token_url, app_only)
    notifications = config.get("Notifications") if isinstance(config.get("Notifications"), dict) else {}
    found = {
        "name": item["Name"],
        "template": template,
        "tenant": tenant,
        "client_id": config.get("ClientID"),
        "client_secret": config.get("ClientSecret"),
        "authorize_url": _url(config, "AuthorizationCode"),
        "token_url": token_url,
        "refresh_url": _url(config, "TokenByRefreshToken"),
        "scope": config.get("Scope"),
        "validity": _VALIDITY.get(str(item.get("ValidID", "1")), "invalid"),
        "notify_expired_token": str(notifications.get("NotifyOnExpiredToken", "0")) == "1",
        "notify_expired_refresh_token": str(notifications.get("NotifyOnExpiredRefreshToken", "0")) == "1",
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _url(config: Mapping[str, Any], request: str) -> str:
    step: Any = config
    for key in ("Requests", request, "Request", "URL"):
        step = step.get(key) if isinstance(step, dict) else None
    return step if isinstance(step, str) else ""


def _template(token_url: str, app_only: bool) -> tuple[str, str]:
    """Return the template for this token endpoint, and the tenant in its path."""
    try:
        parts = urlsplit(token_url)
    except ValueError:
        parts = urlsplit("")
    if cloud := _MICROSOFT.get(parts.hostname or ""):
        tenant = parts.path.strip("/").partition("/")[0]
        if app_only:
            return f"{cloud}-app", tenant
        known = ("common", "organizations", "consumers") if cloud == "microsoft" else ("organizations",)
        return (f"{cloud}-{tenant}" if tenant in known else f"{cloud}-tenant"), tenant
    if parts.hostname == "oauth2.googleapis.com":
        return "google", ""
    return ("generic-app" if app_only else "generic"), ""
