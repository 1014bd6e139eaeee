"""OpenID Connect client: identifies the account that signed in, and discovers a provider's endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from urllib3.exceptions import HTTPError

from portal.core.encryption import Secret
from portal.core.errors import HostDown, Refused, Unavailable
from portal.protocols import http
from portal.protocols.oauth2 import Client
from portal.protocols.token_responses import TokenAnswer, json_object, one_line

_SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]


@dataclass(frozen=True)
class Identity:
    """The issuer and endpoints that identify an account; empty fields: not supported by the provider."""

    issuer: str
    jwks_url: str
    userinfo_url: str


def owner_of(answer: TokenAnswer, identity: Identity, client: Client, *, nonce: str, claims: list[str]) -> str | None:
    """Return the account: the first of ``claims`` in the verified ID token or the userinfo response; None: unknown.

    ``nonce`` empty: the flow has no nonce (device code).
    """
    claimed: Mapping[str, Any] = {}
    if answer.id_token and identity.jwks_url:
        claimed = verified_claims(answer.id_token, identity, client, nonce=nonce)
    elif identity.userinfo_url:
        claimed = _get_json(identity.userinfo_url, {"Authorization": f"Bearer {answer.access_token.reveal()}"})
    values = (claimed.get(claim) for claim in [*claims, "sub"])
    return next((one_line(value)[:320] for value in values if isinstance(value, str) and value), None)


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def _metadata(base: str) -> dict[str, Any]:
    """The OpenID discovery document, else the metadata of the authorization server (RFC 8414 section 3.1)."""
    try:
        return _get_json(f"{base}/.well-known/openid-configuration", {})
    except HostDown:
        raise
    except Unavailable as error:
        parts = urlsplit(base)
        try:
            return _get_json(f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}", {})
        except Unavailable:
            raise error from None


def discover(issuer: str) -> dict[str, str]:
    """Return a provider's published endpoints (OpenID Connect Discovery section 4, else RFC 8414), by field name.

    ``registration_url`` (RFC 7591) and ``end_session_url`` (RP-Initiated Logout) are no fields of token configurations.
    ``sends_issuer`` is there if authorization responses name the issuer (RFC 9207 section 3).

    Refused if the issuer publishes no discovery document, or one of another issuer (section 4.3).
    """
    base = issuer.rstrip("/").removesuffix("/.well-known/openid-configuration")
    body = _metadata(base)
    named = body.get("issuer")
    if not isinstance(named, str) or not isinstance(body.get("token_endpoint"), str):
        raise Refused(f"{urlsplit(base).hostname} publishes no discovery document for this issuer.")
    # Microsoft's shared endpoints name the tenant by a placeholder.
    if named not in (base, f"{base}/") and not ("{tenantid}" in named and _host(named) == _host(base)):
        raise Refused(f"The discovery document is of the issuer {named[:200]}, not of {base}. Enter that issuer.")
    body["issuer"] = named.replace("{tenantid}", "{tid}")
    names = {
        "issuer": "issuer",
        "authorize_url": "authorization_endpoint",
        "token_url": "token_endpoint",
        "refresh_url": "token_endpoint",
        "device_url": "device_authorization_endpoint",
        "revocation_url": "revocation_endpoint",
        "jwks_url": "jwks_uri",
        "userinfo_url": "userinfo_endpoint",
        "end_session_url": "end_session_endpoint",
        "registration_url": "registration_endpoint",
    }
    found = {ours: body[theirs] for ours, theirs in names.items() if isinstance(body.get(theirs), str)}
    return found | (
        {"sends_issuer": "yes"} if body.get("authorization_response_iss_parameter_supported") is True else {}
    )


def verified_claims(id_token: Secret, identity: Identity, client: Client, *, nonce: str) -> Mapping[str, Any]:
    """Verify an ID token (OpenID Connect Core section 3.1.3.7: signature, issuer, audience, expiry, nonce)."""
    expected = {"nonce": {"essential": True, "value": nonce}} if nonce else {}
    try:
        keys = KeySet.import_key_set(_get_json(identity.jwks_url, {}))  # type: ignore[arg-type]
        claims = jwt.decode(id_token.reveal(), keys, algorithms=_SIGNATURES).claims
        # At Microsoft's shared endpoints the issuer contains the tenant of the account.
        issuer = identity.issuer.replace("{tid}", str(claims.get("tid")))
        jwt.JWTClaimsRegistry(
            leeway=300,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client.client_id},
            exp={"essential": True},
            **expected,  # type: ignore[arg-type]
        ).validate(claims)
        if claims["aud"] not in (client.client_id, [client.client_id]) and claims.get("azp") != client.client_id:
            raise ValueError("the token is for several clients, and azp does not name this one")
    except (JoseError, ValueError, KeyError, TypeError) as error:
        host = urlsplit(identity.jwks_url).hostname
        raise Refused(f"The ID token of {host} was not accepted: {error}") from None
    return claims


def userinfo_claims(subject: str, access_token: Secret, userinfo_url: str) -> Mapping[str, Any]:
    """Return the claims of the UserInfo endpoint; Refused if they are another subject's (Core section 5.3.2)."""
    claims = _get_json(userinfo_url, {"Authorization": f"Bearer {access_token.reveal()}"})
    if claims.get("sub") != subject:
        raise Refused(f"The claims of {_host(userinfo_url)} belong to another user than the ID token.")
    return claims


def _get_json(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    host = urlsplit(url).hostname or url
    with requests.Session() as session:
        http.bound(session)
        try:
            response = session.get(url, headers=headers, allow_redirects=False)
        except (requests.RequestException, HTTPError) as error:
            raise http.unreachable(error, host) from None
    body = json_object(response, host)
    if body.get("error"):
        raise Unavailable(f"{host} answered: {body['error']}")
    return body
