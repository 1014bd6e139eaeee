"""An OpenID Connect provider: discovery, keys, and a token endpoint that checks the client, the code and PKCE."""

import base64
import hashlib
import json
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug import Request, Response

from tests.fakes import http

CLIENT_ID, CLIENT_SECRET = "portal", "identity-client-secret-Hw72"


class FakeIdentityProvider:
    """``claims`` are added to each ID token and replace its own."""

    def __init__(self, now: datetime) -> None:
        self.now = int(now.timestamp())
        self.claims: dict[str, Any] = {"sub": "u-1", "preferred_username": "dora", "groups": ["mail-admins"]}
        self.key = RSAKey.generate_key(2048)
        #: Added to the header of each ID token.
        self.header: dict[str, Any] = {}
        #: Replaces values of the discovery document.
        self.metadata: dict[str, Any] = {}
        #: Claims of the UserInfo endpoint; None: the provider has none.
        self.userinfo: dict[str, Any] | None = None
        self._requested: dict[str, dict[str, str]] = {}
        self._server = http.take(self._respond)

    @property
    def url(self) -> str:
        return http.url(self._server)

    def stop(self) -> None:
        http.give_back(self._server)

    def signs_in(self, address: str) -> dict[str, str]:
        """Return the parameters with which the provider sends the browser back from this address."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._requested[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.url}

    def _respond(self, request: Request) -> Response:
        bodies = {"/.well-known/openid-configuration": self._metadata, "/jwks": self._keys, "/me": self._userinfo}
        body = bodies.get(request.path)
        return _json(body()) if body else self._tokens(request)

    def _userinfo(self) -> dict[str, Any]:
        return self.userinfo or {}

    def _metadata(self) -> dict[str, Any]:
        names = {"authorization": "authorize", "token": "token", "end_session": "logout"}
        if self.userinfo is not None:
            names["userinfo"] = "me"
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            **{f"{name}_endpoint": f"{self.url}/{path}" for name, path in names.items()},
            **self.metadata,
        }

    def _keys(self) -> dict[str, Any]:
        return {"keys": [{**self.key.as_dict(private=False), "kid": "k"}]}

    def _tokens(self, request: Request) -> Response:
        asked, form = self._requested.pop(request.form.get("code", ""), None), request.form
        given = request.authorization
        if not given or (given.username, given.password) != (CLIENT_ID, CLIENT_SECRET):
            return _json({"error": "invalid_client"}, 401)
        if (
            asked is None
            or form["redirect_uri"] != asked["redirect_uri"]
            or _challenge(form) != asked["code_challenge"]
        ):
            return _json({"error": "invalid_grant"}, 400)
        claims = {"iss": self.url, "aud": CLIENT_ID, "exp": self.now + 10**9, "nonce": asked["nonce"], **self.claims}
        token = jwt.encode({"alg": "RS256", "kid": "k", **self.header}, claims, self.key, algorithms=["RS256"])
        return _json({"access_token": "a", "token_type": "Bearer", "id_token": token})


def _challenge(form: Any) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()


def _json(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, mimetype="application/json")
