"""The sandbox's OAuth 2.0 authorization server: sign-in and consent page, PKCE, rotating refresh tokens, modes."""

import secrets
import time
from pathlib import Path
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, redirect, render_template, request
from joserfc.jwk import RSAKey

from portal.sandbox import store
from portal.sandbox.store import Code, Grant

TOKEN_SECONDS = 120
_CODE_SECONDS = 600


class _Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """The only registered client; any redirect URI on this host is accepted."""

    client_id = store.CLIENT_ID

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.startswith(
            ("http://127.0.0.1", "http://localhost", "https://127.0.0.1", "https://localhost")
        )

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret, store.CLIENT_SECRET) and store.mode() != "client"

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_post", "client_secret_basic")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


class _Found:
    """A stored code or grant with the interface that Authlib requires."""

    def __init__(self, row: Any) -> None:
        self.row = row
        self.user = row.user
        self.code_challenge = getattr(row, "challenge", None)
        self.code_challenge_method = getattr(row, "challenge_method", None)

    def get_redirect_uri(self) -> str:
        return str(self.row.redirect_uri)

    def get_scope(self) -> str:
        return str(self.row.scope)

    def get_nonce(self) -> str | None:
        return self.row.nonce  # type: ignore[no-any-return]

    def get_auth_time(self) -> int:
        return int(self.row.made_at)

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None

    def check_client(self, client: _Client) -> bool:
        return True


class _CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]

    def save_authorization_code(self, code: str, request: Any) -> None:
        data = request.payload.data
        Code.create(
            code=code,
            redirect_uri=request.payload.redirect_uri,
            scope=request.payload.scope,
            user=request.user,
            nonce=data.get("nonce"),
            challenge=data.get("code_challenge"),
            challenge_method=data.get("code_challenge_method"),
            made_at=int(time.time()),
        )

    def query_authorization_code(self, code: str, client: _Client) -> _Found | None:
        row = Code.get_or_none(Code.code == code, Code.made_at > time.time() - _CODE_SECONDS)
        return _Found(row) if row else None

    def delete_authorization_code(self, found: _Found) -> None:
        found.row.delete_instance()

    def authenticate_user(self, found: _Found) -> str:
        return str(found.user)


class _RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]

    def authenticate_refresh_token(self, refresh_token: str) -> _Found | None:
        row = Grant.get_or_none(Grant.refresh_token == refresh_token, Grant.spent == False)  # noqa: E712
        return _Found(row) if row and store.mode() != "refuse" else None

    def authenticate_user(self, found: _Found) -> str:
        return str(found.user)

    def revoke_old_credential(self, found: _Found) -> None:
        found.row.spent = True
        found.row.save()


class _IdToken(OpenIDCode):  # type: ignore[misc]
    def __init__(self, key: RSAKey, issuer: str) -> None:
        super().__init__(require_nonce=False)
        self.key, self.issuer = key, issuer

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return Code.get_or_none(Code.nonce == nonce) is not None

    def resolve_client_private_key(self, client: _Client) -> RSAKey:
        return self.key

    def get_client_algorithm(self, client: _Client) -> str:
        return "RS256"

    def get_encode_header(self, client: _Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": str(self.key.kid)}

    def get_compatible_claims(self, request: Any) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self.issuer, "aud": request.client.get_client_id(), "iat": now, "exp": now + 600}

    def generate_user_info(self, user: str, scope: str) -> UserInfo:
        return UserInfo(sub=user, email=user)


def create_provider(issuer: str, key: RSAKey) -> Flask:
    """Create the provider's WSGI application; ``issuer`` is its base URL."""
    app = Flask("sandbox", template_folder=str(Path(__file__).parent / "pages"), static_folder=None)
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    app.config["OAUTH2_TOKEN_EXPIRES_IN"] = dict.fromkeys(("authorization_code", "refresh_token"), TOKEN_SECONDS)
    server = AuthorizationServer(app, query_client=_find_client, save_token=_save_token)
    server.register_grant(_CodeGrant, [CodeChallenge(required=True), _IdToken(key, issuer)])
    server.register_grant(_RefreshGrant)
    _pages(app, server)
    _metadata(app, issuer, key)
    return app


def _find_client(client_id: str) -> _Client | None:
    return _Client() if client_id == store.CLIENT_ID else None


def _save_token(token: dict[str, Any], request: Any) -> None:
    Grant.create(
        access_token=token["access_token"],
        refresh_token=token.get("refresh_token"),
        user=request.user,
        scope=token.get("scope", ""),
        expires_at=int(time.time()) + token["expires_in"],
    )


def _pages(app: Flask, server: AuthorizationServer) -> None:
    @app.before_request
    def connect() -> None:
        store.database.connect(reuse_if_open=True)

    @app.teardown_request
    def disconnect(error: BaseException | None) -> None:
        store.database.close()

    @app.get("/")
    def index() -> str:
        return render_template("index.html", mode=store.mode(), modes=store.MODES)

    @app.post("/switch")
    def switch() -> Any:
        if request.form.get("mode") in store.MODES:
            store.set_mode(request.form["mode"])
        return redirect("/", 303)

    @app.route("/authorize", methods=["GET", "POST"])
    def authorize() -> Any:
        try:
            grant = server.get_consent_grant(end_user=None)
        except OAuth2Error as error:
            return render_template("refused.html", error=error), 400
        if request.method == "GET":
            return render_template(
                "authorize.html",
                users=store.USERS,
                hint=request.args.get("login_hint"),
                scope=grant.request.payload.scope,
            )
        user = request.form.get("user") if request.form.get("decision") == "allow" else None
        return server.create_authorization_response(grant=grant, grant_user=user if user in store.USERS else None)

    @app.post("/token")
    def token() -> Any:
        if store.mode() == "down":
            return Response("<html><body>Service Unavailable</body></html>", 503, {"Retry-After": "10"})
        return server.create_token_response()


def _metadata(app: Flask, issuer: str, key: RSAKey) -> None:
    @app.get("/jwks")
    def jwks() -> Any:
        return jsonify({"keys": [key.as_dict(private=False)]})

    @app.get("/userinfo")
    def userinfo() -> Any:
        user = store.user_of(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return jsonify({"sub": user, "email": user}) if user else (jsonify({"error": "invalid_token"}), 401)

    @app.get("/.well-known/openid-configuration")
    def discovery() -> Any:
        endpoints = {f"{name}_endpoint": f"{issuer}/{path}" for name, path in _ENDPOINTS.items()}
        return jsonify({"issuer": issuer, "jwks_uri": f"{issuer}/jwks", **endpoints})


_ENDPOINTS = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
