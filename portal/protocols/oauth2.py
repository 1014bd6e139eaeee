"""OAuth 2.0 client (RFC 6749, 7636, 7009) based on Authlib, with limits of time and size."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from urllib3.exceptions import HTTPError

from portal.core.encryption import Secret
from portal.protocols import http
from portal.protocols.token_responses import TokenAnswer, failure, json_object, token_answer

_CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True)
class Client:
    """A registered client. ``secret`` None: a public client (RFC 6749 section 2.1).

    ``auth`` is a name of RFC 7591 section 2; for ``private_key_jwt`` the secret is the PEM private key, and
    ``certificate`` is the certificate registered at the provider; for ``client_assertion_file`` it is the assertion.
    ``parameters`` are sent with each token request.
    """

    client_id: str
    secret: Secret | None
    auth: str = "client_secret_post"
    certificate: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def authorize_url(url: str, parameters: Mapping[str, str], code_verifier: Secret) -> str:
    """Return the URL that starts a sign-in: parameters in alphabetical order, PKCE S256."""
    query = {
        **parameters,
        "response_type": "code",
        "code_challenge": create_s256_code_challenge(code_verifier.reveal()),
        "code_challenge_method": "S256",
    }
    return url_with(url, query)


def url_with(url: str, query: Mapping[str, str]) -> str:
    """Add parameters to a URL, in alphabetical order."""
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}{urlencode(sorted(query.items()), quote_via=quote)}"


def exchange_code(
    client: Client, url: str, *, code: Secret, verifier: Secret, redirect_uri: str, scope: str | None, now: datetime
) -> TokenAnswer:
    """Exchange an authorization code for tokens (RFC 6749 section 4.1.3). ``scope`` None: not sent."""
    session = Session(client, url, now)
    with session:
        session.fetch_token(
            url,
            grant_type="authorization_code",
            code=code.reveal(),
            redirect_uri=redirect_uri,
            code_verifier=verifier.reveal(),
            **asking_for(scope),
        )
    return session.answer


def refresh(client: Client, url: str, *, refresh_token: Secret, scope: str | None, now: datetime) -> TokenAnswer:
    """Request a new access token with a refresh token (RFC 6749 section 6). ``scope`` None: not sent."""
    session = Session(client, url, now)
    with session:
        session.refresh_token(url, refresh_token=refresh_token.reveal(), **session.extra, **asking_for(scope))
    return session.answer


def client_credentials(client: Client, url: str, *, scope: str, now: datetime) -> TokenAnswer:
    """Request an app-only token (RFC 6749 section 4.4); the response has no refresh token."""
    session = Session(client, url, now)
    with session:
        session.fetch_token(url, grant_type="client_credentials", **asking_for(scope))
    return session.answer


def jwt_bearer(url: str, *, assertion: Secret, now: datetime) -> TokenAnswer:
    """Request a token with an assertion (RFC 7523 section 2.1), which also authenticates the client."""
    session = Session(Client("", None), url, now)
    with session:
        session.fetch_token(url, grant_type=_JWT_BEARER, assertion=assertion.reveal(), auth=lambda request: request)
    return session.answer


def revoke(client: Client, url: str, *, token: Secret, hint: str, now: datetime) -> None:
    """Revoke a token (RFC 7009)."""
    session = Session(client, url, now)
    with session:
        response = session.revoke_token(url, token=token.reveal(), token_type_hint=hint)
    if response.status_code == 200:
        return
    body = json_object(response, session.host)
    raise failure(body)


def asking_for(scope: str | None) -> dict[str, str]:
    return {"scope": scope} if scope else {}


class Session(OAuth2Session):  # type: ignore[misc]  # Authlib has no types
    """One request to a token endpoint. Parses the response itself: Authlib computes times without checking values."""

    answer: TokenAnswer
    #: Parameters of the body that Authlib does not set.
    extra: dict[str, str]

    def __init__(self, client: Client, url: str, now: datetime) -> None:
        secret = client.secret.reveal() if client.secret else None
        method = client.auth if secret else "none"
        self.extra = dict(client.parameters)
        if method == "client_assertion_file" and secret:
            self.extra |= {"client_assertion_type": _CLIENT_ASSERTION, "client_assertion": secret}
            secret, method = None, "none"
        methods = {f"{endpoint}_endpoint_auth_method": method for endpoint in ("token", "revocation")}
        super().__init__(client.client_id, secret, **methods)
        if method == "private_key_jwt":
            self.register_client_auth_method(_signing(client, url))
            # Microsoft requires the client ID in addition to the assertion.
            self.extra["client_id"] = client.client_id
        self.host = urlsplit(url).hostname or url
        self.now = now
        http.bound(self)

    def request(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        try:
            return super().request(method, url, **{**kwargs, "allow_redirects": False})  # type: ignore[no-any-return]
        except (requests.RequestException, HTTPError) as error:
            raise http.unreachable(error, self.host) from None

    def _prepare_token_endpoint_body(self, body: str, grant_type: str, **kwargs: Any) -> str:
        merged = {**self.extra, **kwargs}
        return super()._prepare_token_endpoint_body(body, grant_type, **merged)  # type: ignore[no-any-return]

    def parse_response_token(self, response: requests.Response) -> dict[str, Any]:
        body = json_object(response, self.host)
        if body.get("error"):
            raise failure(body)
        ahead = http.clock_ahead(response)
        self.answer = replace(token_answer(body, self.host, self.now), clock_ahead=ahead)
        return {"refresh_token": "kept in answer"}


def _signing(client: Client, url: str) -> PrivateKeyJWT:
    """Return the JWT signer: PS256 with the certificate's SHA-256 thumbprint, as Microsoft requires."""
    certificate = x509.load_pem_x509_certificate(client.certificate.encode())
    thumbprint = urlsafe_b64encode(certificate.fingerprint(SHA256())).decode().rstrip("=")
    return PrivateKeyJWT(url, alg="PS256", headers={"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint})
