"""The authorization code flow: starts a sign-in at the provider and accepts its response exactly once."""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from portal import causes, providers
from portal.causes import Where
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Answer, ExternalError, Refused
from portal.core.language import Text, _
from portal.models import LoginSession, MailAccount, OwnerLink, SignIn, Token, TokenConfig, User
from portal.protocols import oauth2, oidc
from portal.protocols.oauth2 import Client
from portal.protocols.token_responses import TokenAnswer
from portal.system import audit, redirect_uri
from portal.tokens import client_auth, constant_parameters, refresh_results
from portal.tokens.sign_in import owner_links

LIFE = timedelta(minutes=10)
INVALID_STATE = _(
    "This response belongs to no sign-in in progress: it has already been used, is older than ten minutes, or was "
    "started in another browser. Nothing was changed. Request a new token to start again."
)


#: The only browser that may return the response: that of a signed-in user or of a mailbox owner with a link.
#: None: the command line, which reads the response itself.
Browser = LoginSession | OwnerLink | None


def begin(token: Token, *, by: str, browser: Browser, now: datetime, replace_owner: bool = False) -> str:
    """Start a sign-in; return the provider's URL for it. ``replace_owner``: another account may take over the token."""
    config = token.token_config
    if not config.is_valid:
        raise Refused(
            _(
                "The token configuration {name!r} is set to {validity}.",
                name=config.name,
                validity=Text(config.validity.value),
            )
        )
    state, verifier, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    with transaction():
        SignIn.delete().where(SignIn.started_at < now - 6 * LIFE, SignIn.failure.is_null()).execute()
        row = SignIn.create(
            state_hash=_hash(state),
            token=token,
            login_session=browser if isinstance(browser, LoginSession) else None,
            owner_link=browser if isinstance(browser, OwnerLink) else None,
            replaces_owner=replace_owner,
            user_name=by[:100],
            nonce=nonce,
            redirect_uri=redirect_uri.uri(),
            started_at=now,
        )
        row.code_verifier = Secret(verifier)
        row.save()
    parameters = {**_parameters(config), "redirect_uri": row.redirect_uri, "state": state}
    if providers.of(config.template).login_hint and (wanted := _wanted_owner(row.token)):
        parameters.setdefault("login_hint", wanted)
    if "openid" in config.scope.split():
        parameters["nonce"] = row.nonce
    return oauth2.authorize_url(config.authorize_url, parameters, Secret(verifier))


def _parameters(config: TokenConfig) -> dict[str, str]:
    """The parameters that are the same in each sign-in."""
    constant = constant_parameters.parsed(config.authorize_parameters)
    return {**constant, "client_id": config.client_id, "scope": config.scope}


def preview(config: TokenConfig) -> str:
    """Return the URL of a sign-in without the parameters that differ in each one."""
    parameters = {**_parameters(config), "redirect_uri": redirect_uri.uri(), "response_type": "code"}
    return oauth2.url_with(config.authorize_url, parameters)


def _wanted_owner(token: Token) -> str | None:
    """The expected account: the token's owner, else the login of the first mail account that uses the token."""
    if token.owner:
        return token.owner
    account = MailAccount.select().where(MailAccount.token == token.id).order_by(MailAccount.id).first()
    return account.login if account else None


def answer_parameters(address: str) -> dict[str, str]:
    """Return the query parameters of a pasted address; Refused if it is not a URL."""
    try:
        parameters = dict(parse_qsl(urlsplit(address.strip()).query))
    except ValueError as error:
        raise Refused(_("This is not a URL. Copy the complete address from the browser.")) from error
    if any("\0" in value for value in parameters.values()):
        raise Refused(_("This is not a redirect from a provider. Copy the complete address from the browser."))
    return parameters


def begun_by_link(state: str) -> bool:
    """Whether the sign-in of this ``state`` was started from an owner link."""
    row = SignIn.get_or_none(SignIn.state_hash == _hash(state))
    return row is not None and row.owner_link_id is not None


def complete(parameters: Mapping[str, str], *, by: str, user: User | None, browser: Browser, now: datetime) -> Token:
    """Process the provider's response (RFC 6749 section 4.1.2) and store the tokens.

    Refused states the cause, the action and the provider's message; the stored token stays unchanged.
    """
    row = _use_up(parameters.get("state", ""), browser, by, now)
    token = row.token
    try:
        code = _code(parameters, token.token_config)
        answer = _exchange(row, code, by, now)
        owner = _owner(row, answer)
    except ExternalError as error:
        _write_failure(row, error, by, now)
        facts = {
            "mailbox": token.owner or "",
            "client_id": token.token_config.client_id,
            "redirect_uri": redirect_uri.uri(),
        }
        raise type(error)(causes.explained(str(error), Where.SIGN_IN, facts), error.answer) from error
    if row.owner_link and not owner_links.use(row.owner_link, now=now):
        raise Refused(_("This link has already been used. Ask for a new one."))
    store(token, answer, owner, by=by, user=user, now=now)
    return token


def _use_up(state: str, browser: Browser, by: str, now: datetime) -> SignIn:
    """Return the sign-in of ``state``, marked as used before the response is processed."""
    row = SignIn.get_or_none(SignIn.state_hash == _hash(state))
    if row is not None and _began(row) == (type(browser), browser.id if browser else None):
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
        "state unknown, already used or from another browser",
        now,
    )
    raise Refused(INVALID_STATE)


def _began(row: SignIn) -> tuple[type, int | None]:
    """The browser that started the sign-in, as type and id."""
    if row.login_session_id is not None:
        return LoginSession, row.login_session_id
    return (OwnerLink, row.owner_link_id) if row.owner_link_id is not None else (type(None), None)


def error_of(parameters: Mapping[str, str]) -> Answer | None:
    """Return the error that the provider sent back (RFC 6749 section 4.1.2.1); None: there is none."""
    if error := parameters.get("error"):
        description = " ".join(parameters.get("error_description", "").split())
        return Answer(error=error[:200], description=description[:2000])
    return None


def _code(parameters: Mapping[str, str], config: TokenConfig) -> Secret:
    # First: an error of another server is not this provider's (RFC 9207 section 2.4).
    if (issuer := parameters.get("iss")) and not _is_from(issuer, config):
        expected = config.issuer or urlsplit(config.authorize_url).hostname
        raise Refused(
            _("The response came from {issuer}, not from {expected}.", issuer=issuer[:200], expected=expected)
        )
    if answer := error_of(parameters):
        raise Refused(str(answer), answer)
    if not parameters.get("code"):
        raise Refused(_("The provider sent neither an authorization code nor an error."))
    return Secret(parameters["code"])


def _is_from(issuer: str, config: TokenConfig) -> bool:
    """Whether the response is of this configuration's authorization server (RFC 9207 section 2.4).

    Without a stored issuer, or with one for many tenants, the hosts are compared.
    """
    if config.issuer and "{" not in config.issuer:
        return issuer == config.issuer
    try:
        return urlsplit(issuer).hostname == urlsplit(config.issuer or config.authorize_url).hostname
    except ValueError:
        return False


def _exchange(row: SignIn, code: Secret, by: str, now: datetime) -> TokenAnswer:
    config, verifier = row.token.token_config, row.code_verifier
    assert verifier is not None
    scope = config.scope if providers.of(config.template).scope_in_code_exchange else None

    def request(client: Client) -> TokenAnswer:
        return oauth2.exchange_code(
            client, config.token_url, code=code, verifier=verifier, redirect_uri=row.redirect_uri, scope=scope, now=now
        )

    return client_auth.ask(config, request, actor=by, now=now)


def _owner(row: SignIn, answer: TokenAnswer) -> str | None:
    """Return the account that signed in; Refused if the token belongs to another account."""
    config = row.token.token_config
    identity = oidc.Identity(config.issuer, config.jwks_url, config.userinfo_url)
    claims = providers.of(config.template).owner_claims
    owner = oidc.owner_of(answer, identity, client_auth.first_of(config), nonce=row.nonce, claims=claims)
    return owner if row.replaces_owner and owner else same_owner(row.token, owner)


def same_owner(token: Token, owner: str | None) -> str | None:
    """Return the token's owner after a sign-in; Refused if another account signed in than before."""
    before = token.owner
    if before and owner and before.casefold() != owner.casefold():
        raise Refused(
            _(
                "{owner} signed in, but this token belongs to {before}. Sign in as {before}, or allow another account "
                "to take over the token.",
                owner=owner,
                before=before,
            )
        )
    if before and owner is None and _identifies_accounts(token.token_config):
        # The person who signs in can remove openid from the address of the provider's page.
        raise Refused(
            _(
                "The provider did not say who signed in, so the portal cannot tell whether it was {before}. Start the "
                "sign-in again, and do not change the address of the provider's page.",
                before=before,
            )
        )
    return owner or before


def _identifies_accounts(config: TokenConfig) -> bool:
    """Whether a sign-in with the configured scope tells who signed in."""
    return bool(config.userinfo_url) or (bool(config.jwks_url) and "openid" in config.scope.split())


def store(token: Token, answer: TokenAnswer, owner: str | None, *, by: str, user: User | None, now: datetime) -> None:
    """Store the tokens of a sign-in and make the rows that waited for them due now."""
    # A new grant replaces the refresh token and clears the failures of the old one.
    token.refresh_token = token.granted_scope = None
    token.tries = 0
    refresh_results.keep(token, answer, now=now)
    token.owner, token.signed_in_at, token.signed_in_by = owner, now, user
    token.requested_scope = token.token_config.scope
    with transaction():
        token.overwrite()
        _credentials_work(token.token_config, now)
        refresh_results.schedule_dependents(token, now=now)
        audit.about(token, by, "signed-in", f"owner {owner or 'unknown'}; scope {token.granted_scope}", now)


def _credentials_work(config: TokenConfig, now: datetime) -> None:
    """Resume the configuration if it was suspended: the provider has just accepted the client's credentials."""
    if config.credentials_refused_at:
        refresh_results.resume(config, now=now)


def _write_failure(row: SignIn, error: ExternalError, by: str, now: datetime) -> None:
    with transaction():
        SignIn.update(failure=str(error)).where(SignIn.id == row.id).execute()
        audit.about(row.token, by, "sign-in-failed", str(error), now)


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
