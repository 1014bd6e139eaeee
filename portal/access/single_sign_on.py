"""Sign-in to the portal at an identity provider (OpenID Connect Core section 3.1, with PKCE)."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.access import external_users, identity_providers
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Refused
from portal.core.language import _
from portal.models import IdentityProvider, LoginSession, Role, User
from portal.protocols import oauth2, oidc
from portal.protocols.oauth2 import Client
from portal.protocols.token_responses import one_line
from portal.system import audit, settings

#: How long a user may take at the provider.
_LIFE = timedelta(minutes=15)
_CLOCK_DIFFERENCE = 60


@dataclass(frozen=True)
class Pending:
    """A sign-in that was begun; kept in the browser's signed session, so that no other browser can end it."""

    provider_id: int
    state: str
    nonce: str
    verifier: str
    #: ISO 8601.
    began_at: str
    #: Whether the user must enter the password at the provider again.
    again: bool = False

    def as_facts(self) -> dict[str, Any]:
        return asdict(self)


def begin(provider: IdentityProvider, *, again: bool = False, now: datetime) -> tuple[str, Pending]:
    """Return the address at which the user signs in, and what the answer is checked against.

    ``again``: a session at the provider is not enough; the user proves to be present.
    """
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    parameters = {
        "client_id": provider.client_id,
        "redirect_uri": identity_providers.redirect_uri(),
        "scope": provider.scope,
        "state": state,
        "nonce": nonce,
        **({"prompt": "login", "max_age": "0"} if again else {}),
    }
    address = oauth2.authorize_url(provider.authorize_url, parameters, Secret(verifier))
    return address, Pending(provider.id, state, nonce, verifier, now.isoformat(), again)


def complete(pending: Pending, parameters: Mapping[str, str], *, address: str = "", now: datetime) -> User:
    """Return the user whom the answer names, and record a sign-in that failed. Raises as ``_complete``."""
    try:
        return _complete(pending, parameters, now)
    except ExternalError as error:
        audit.record_once(address or "?", "user:sign-in-failed", User.kind, f"identity provider: {error}"[:500], now)
        raise


def _complete(pending: Pending, parameters: Mapping[str, str], now: datetime) -> User:
    """Return the user whom the answer names, created if new, with the role of the user's groups.

    Raises Refused for an answer that does not belong to ``pending``, and for a user who may not sign in; Unavailable
    if the provider does not answer.
    """
    provider = _provider(pending, parameters, now)
    claims = _claims(provider, pending, parameters, now)
    if pending.again and not _is_fresh(claims.get("auth_time"), pending):
        raise Refused(
            _("The provider did not ask for the sign-in again (auth_time). Sign out of the portal and in again.")
        )
    subject = one_line(claims.get("sub"))
    if not subject or len(subject) > 255:
        raise Refused(_("The provider sent no usable subject (sub)."))
    role = role_of(provider, claims)
    if role is None:
        text = _(
            "None of the groups in the claim {groups_claim} has a role in the portal.",
            groups_claim=provider.groups_claim,
        )
        audit.about(provider, _label(claims), "sign-in-refused", text, now)
        raise Refused(_("{text} Ask a portal administrator.", text=text))
    return external_users.signed_in(provider.issuer, subject, provider.name, _label(claims), role, now=now)


def _is_fresh(signed_in_at: Any, pending: Pending) -> bool:
    """Whether the sign-in at the provider came after the request (OpenID Connect Core section 3.1.2.1, max_age)."""
    began = datetime.fromisoformat(pending.began_at).timestamp()
    return isinstance(signed_in_at, int) and signed_in_at >= began - _CLOCK_DIFFERENCE


def _provider(pending: Pending, parameters: Mapping[str, str], now: datetime) -> IdentityProvider:
    if not secrets.compare_digest(parameters.get("state", "").encode(), pending.state.encode()):
        raise Refused(_("The answer does not belong to a sign-in of this browser. Sign in again."))
    if now > datetime.fromisoformat(pending.began_at) + _LIFE:
        raise Refused(_("The sign-in took longer than 15 minutes. Sign in again."))
    provider: IdentityProvider | None = IdentityProvider.get_or_none(IdentityProvider.id == pending.provider_id)
    if provider is None:
        raise Refused(_("The identity provider was deleted."))
    # RFC 9207 section 2.4: another provider may have sent the browser here.
    issuer = parameters.get("iss")
    if issuer is None and provider.sends_issuer:
        raise Refused(_("The answer does not name its issuer, as {issuer} does.", issuer=provider.issuer))
    if issuer is not None and issuer != provider.issuer:
        raise Refused(
            _("The answer came from {other}, not from {issuer}.", other=one_line(issuer)[:200], issuer=provider.issuer)
        )
    return provider


def _claims(
    provider: IdentityProvider, pending: Pending, parameters: Mapping[str, str], now: datetime
) -> Mapping[str, Any]:
    """Exchange the code and return the claims of the verified ID token."""
    if error := parameters.get("error"):
        words = f"{one_line(error)[:200]} {one_line(parameters.get('error_description'))[:300]}"
        raise Refused(_("{name} answered: {answer}.", name=provider.name, answer=words.strip()))
    if not parameters.get("code"):
        raise Refused(_("{name} sent neither an authorization code nor an error.", name=provider.name))
    auth = "client_secret_basic" if provider.has_secret else "none"
    client = Client(provider.client_id, provider.client_secret, auth)
    answer = oauth2.exchange_code(
        client, provider.token_url, code=Secret(parameters["code"]), verifier=Secret(pending.verifier),
        redirect_uri=identity_providers.redirect_uri(), scope=None, now=now,
    )  # fmt: skip
    if answer.id_token is None:
        raise Refused(_("{name} sent no ID token. The scope must contain openid.", name=provider.name))
    identity = oidc.Identity(provider.issuer, provider.jwks_url, "")
    claims = oidc.verified_claims(answer.id_token, identity, client, nonce=pending.nonce)
    # OpenID Connect Core section 5.4: a provider may return the claims of scopes at the UserInfo endpoint only.
    if provider.groups_claim.split(".")[0] in claims or not provider.userinfo_url:
        return claims
    return {**oidc.userinfo_claims(str(claims.get("sub")), answer.access_token, provider.userinfo_url), **claims}


def role_of(provider: IdentityProvider, claims: Mapping[str, Any]) -> Role | None:
    """Return the highest role of the user's groups; None: no group has one."""
    value: Any = claims
    for level in provider.groups_claim.split("."):
        value = value.get(level) if isinstance(value, Mapping) else None
    listed = value if isinstance(value, list) else [value]
    groups = {one for one in listed if isinstance(one, str)}
    by_role = {
        Role.ADMIN: provider.admin_groups,
        Role.OPERATOR: provider.operator_groups,
        Role.AUDITOR: provider.auditor_groups,
        Role.VIEWER: provider.viewer_groups,
    }
    return external_users.highest_role(groups, by_role)


def _label(claims: Mapping[str, Any]) -> str:
    """Return a name for display: it identifies no user, because users can change it at many providers."""
    values = (claims.get(name) for name in ("preferred_username", "email", "name", "sub"))
    return next((one_line(value)[:100] for value in values if isinstance(value, str) and value), "?")


def logout_address(session: LoginSession) -> str | None:
    """Return the address that ends the user's session at the provider; None: the provider has no logout."""
    provider = IdentityProvider.get_or_none(IdentityProvider.issuer == session.user.issuer)
    if provider is None or not provider.end_session_url:
        return None
    after = {"client_id": provider.client_id, "post_logout_redirect_uri": f"{settings.portal_url()}login"}
    return oauth2.url_with(provider.end_session_url, after)
