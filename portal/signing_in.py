"""The authorization-code flow: begin a sign-in at the provider, and take its answer exactly once."""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from portal import audit, clients, providers, refreshing, settings
from portal.adapters import oauth2, oidc
from portal.adapters.oauth2 import Client, TokenAnswer
from portal.db import transaction
from portal.errors import Answer, OutsideError, Refused
from portal.models import LoginSession, MailAccount, SignIn, Token, TokenConfig, User
from portal.sealing import Secret

LIFE = timedelta(minutes=10)
_FOREIGN_STATE = (
    "This answer belongs to no sign-in that is under way here: it was used already, is older than ten minutes, or was "
    "begun in another browser. Nothing was changed. Request a new token to start again."
)


def begin(token: Token, *, by: str, login_session: LoginSession | None, now: datetime) -> str:
    """The provider's address for this sign-in. ``login_session`` None: the command line takes the answer itself."""
    config = token.token_config
    if not config.is_valid:
        raise Refused(f"The token configuration {config.name!r} is set to {config.validity.value}.")
    state, verifier, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    with transaction():
        SignIn.delete().where(SignIn.started_at < now - 6 * LIFE, SignIn.failure.is_null()).execute()
        row = SignIn.create(
            state_hash=_hash(state),
            token=token,
            login_session=login_session,
            user_name=by,
            nonce=nonce,
            redirect_uri=settings.redirect_uri(),
            started_at=now,
        )
        row.code_verifier = Secret(verifier)
        row.save()
    return _authorize_url(config, row, state)


def _authorize_url(config: TokenConfig, row: SignIn, state: str) -> str:
    verifier = row.code_verifier
    assert verifier is not None
    parameters = {
        **providers.of(config.template).authorize_parameters,
        "client_id": config.client_id,
        "redirect_uri": row.redirect_uri,
        "scope": config.scope,
        "state": state,
    }
    if providers.of(config.template).login_hint and (wanted := _wanted_owner(row.token)):
        parameters["login_hint"] = wanted
    if "openid" in config.scope.split():
        parameters["nonce"] = row.nonce
    return oauth2.authorize_url(config.authorize_url, parameters, verifier)


def _wanted_owner(token: Token) -> str | None:
    """Whose sign-in it should be: the owner so far, else the login of the first mail account that waits for it."""
    if token.owner:
        return token.owner
    account = MailAccount.select().where(MailAccount.token == token.id).order_by(MailAccount.id).first()
    return account.login if account else None


def complete(
    parameters: Mapping[str, str], *, by: str, user: User | None, login_session: LoginSession | None, now: datetime
) -> Token:
    """Take the provider's answer (RFC 6749 section 4.1.2) and store the tokens.

    Refused tells in the provider's words why not; the token in hand stays as it was.
    """
    row = _use_up(parameters.get("state", ""), login_session, by, now)
    token = row.token
    try:
        code = _code(parameters, token.token_config)
        answer = _exchange(row, code, by, now)
        owner = _owner(row, answer)
    except OutsideError as error:
        _write_failure(row, error, by, now)
        raise
    _store(token, answer, owner, by=by, user=user, now=now)
    return token


def _use_up(state: str, login_session: LoginSession | None, by: str, now: datetime) -> SignIn:
    """The sign-in that ``state`` belongs to, marked as used before anything else is looked at."""
    row = SignIn.get_or_none(SignIn.state_hash == _hash(state))
    if row is not None and row.login_session_id == (login_session.id if login_session else None):
        fresh = (SignIn.id == row.id) & SignIn.used_at.is_null() & (SignIn.started_at > now - LIFE)
        if SignIn.update(used_at=now).where(fresh).execute() == 1:
            return row
    name = row.token.name if row else ""
    audit.record(
        by,
        "token:sign-in-rejected",
        "token",
        row.token_id if row else None,
        name,
        "unknown, used or foreign state",
        now,
    )
    raise Refused(_FOREIGN_STATE)


def _code(parameters: Mapping[str, str], config: TokenConfig) -> Secret:
    if error := parameters.get("error"):
        answer = Answer(error=error[:200], description=" ".join(parameters.get("error_description", "").split())[:2000])
        raise Refused(str(answer), answer)
    # RFC 9207: an answer of another authorization server is not ours.
    if parameters.get("iss") and "{" not in config.issuer and config.issuer not in ("", parameters["iss"]):
        raise Refused(f"The answer came from {parameters['iss']}, not from {config.issuer}.")
    if not parameters.get("code"):
        raise Refused("The provider sent neither an authorization code nor an error.")
    return Secret(parameters["code"])


def _exchange(row: SignIn, code: Secret, by: str, now: datetime) -> TokenAnswer:
    config, verifier = row.token.token_config, row.code_verifier
    assert verifier is not None
    scope = config.scope if providers.of(config.template).scope_in_code_exchange else None

    def request(client: Client) -> TokenAnswer:
        return oauth2.exchange_code(
            client, config.token_url, code=code, verifier=verifier, redirect_uri=row.redirect_uri, scope=scope, now=now
        )

    return clients.ask(config, request, actor=by, now=now)


def _owner(row: SignIn, answer: TokenAnswer) -> str | None:
    """Who signed in; Refused when it is not the account that this token belongs to."""
    config, before = row.token.token_config, row.token.owner
    identity = oidc.Identity(config.issuer, config.jwks_url, config.userinfo_url)
    claims = providers.of(config.template).owner_claims
    owner = oidc.owner_of(answer, identity, clients.first_of(config), nonce=row.nonce, claims=claims)
    if before and owner and before.casefold() != owner.casefold():
        raise Refused(
            f"{owner} signed in, but this token belongs to {before}. Sign in as {before}, or forget the token first."
        )
    return owner or before


def _store(token: Token, answer: TokenAnswer, owner: str | None, *, by: str, user: User | None, now: datetime) -> None:
    if answer.refresh_token is None:
        # A new grant: the refresh token of the old one is not its continuation.
        token.refresh_token = None
    token.granted_scope = None
    refreshing.keep(token, answer, now=now)
    token.owner, token.signed_in_at, token.signed_in_by = owner, now, user
    with transaction():
        token.overwrite()
        _credentials_work(token.token_config, now)
        refreshing.wake_dependants(token, now=now)
        audit.about(token, by, "signed-in", f"owner {owner or 'not told'}; scope {token.granted_scope}", now)


def _credentials_work(config: TokenConfig, now: datetime) -> None:
    """The provider has just taken client ID and secret: what paused for them goes on."""
    if config.credentials_refused_at:
        refreshing.resume(config, now=now)


def _write_failure(row: SignIn, error: OutsideError, by: str, now: datetime) -> None:
    with transaction():
        SignIn.update(failure=str(error)).where(SignIn.id == row.id).execute()
        audit.about(row.token, by, "sign-in-failed", str(error), now)


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
