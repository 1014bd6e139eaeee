"""Consent of a tenant's administrator to an application, for all users of the tenant.

https://learn.microsoft.com/entra/identity-platform/v2-admin-consent. Since November 2025 Microsoft's managed policy
requires it for access to mail by default.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

from itsdangerous import BadSignature, URLSafeSerializer

from portal import causes
from portal.causes import Where
from portal.core import keys
from portal.core.errors import Answer, Refused
from portal.core.language import _
from portal.models import Event, Flow, TokenConfig
from portal.system import audit, redirect_uri
from portal.tokens import microsoft_rules, refresh_results
from portal.tokens.sign_in import authorization_code

#: The response comes back without a session of the portal, so its state says itself what it belongs to.
_SALT = "admin-consent"
_RECORD_AGAIN = timedelta(hours=1)
#: The administrator of a tenant can consent at any of these; ``common`` is not accepted.
_ANY_TENANT = "organizations"
#: App-only IMAP, POP3 and SMTP are granted under this resource (see microsoft-app.yml for the source).
_APP_ONLY_MAIL = "https://ps.outlook.com/.default"


def url(config: TokenConfig) -> str:
    """Return Microsoft's page where an administrator grants consent; empty: the provider has no such page."""
    if not microsoft_rules.is_microsoft(config.token_url):
        return ""
    parts = urlsplit(config.token_url)
    tenant = parts.path.strip("/").partition("/")[0]
    tenant = _ANY_TENANT if tenant in ("", "common", "consumers") else tenant
    query = {
        "client_id": config.client_id,
        "scope": _scope(config),
        "redirect_uri": redirect_uri.uri(),
        "state": _signer().dumps(config.id),
    }
    return f"https://{parts.netloc}/{tenant}/v2.0/adminconsent?{urlencode(query)}"


def _scope(config: TokenConfig) -> str:
    if config.flow is Flow.CLIENT_CREDENTIALS:
        is_for_graph = microsoft_rules.access_problem(config.scope, "Graph") == ""
        return config.scope if is_for_graph else _APP_ONLY_MAIL
    return config.scope


def _signer() -> URLSafeSerializer:
    # The last key signs; all verify.
    return URLSafeSerializer(
        list(reversed(keys.current().signing_keys())), salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256}
    )


def config_of(state: str) -> TokenConfig | None:
    """Return the configuration that a response with this state belongs to; None: it is no response to a consent."""
    try:
        config_id = _signer().loads(state)
    except BadSignature:
        return None
    found: TokenConfig | None = TokenConfig.get_or_none(TokenConfig.id == config_id)
    return found


def complete(config: TokenConfig, parameters: Mapping[str, str], *, by: str, now: datetime) -> str:
    """Record the response and return the tenant; the configuration's tokens are tried again at once.

    Refused states why the consent was not granted.
    """
    if parameters.get("error") or parameters.get("admin_consent", "").lower() != "true":
        answer = authorization_code.error_of(parameters) or Answer(
            description=_("Microsoft did not confirm the consent.")
        )
        _record(config, by, "admin-consent-refused", str(answer), now)
        facts = {"client_id": config.client_id, "redirect_uri": redirect_uri.uri()}
        raise Refused(causes.explained(str(answer), Where.SIGN_IN, facts), answer)
    tenant = parameters.get("tenant", "")[:100]
    if config.credentials_refused_at:
        refresh_results.resume(config, now=now)
    _record(config, by, "admin-consent-granted", f"tenant {tenant}", now)
    return tenant


def _record(config: TokenConfig, by: str, act: str, details: str, now: datetime) -> None:
    """Record the response once an hour: the link can be opened any number of times, by people without an account."""
    recent = Event.select().where(Event.subject_id == config.id, Event.at > now - _RECORD_AGAIN)
    if not recent.where(Event.action == f"token-configuration:{act}").exists():
        audit.about(config, by, act, details[:300], now)
