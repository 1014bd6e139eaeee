"""Diagnosis checks of tokens and token configurations: validity, audience and refresh."""

from datetime import datetime, timedelta

from portal import causes
from portal.causes import Where, inferred
from portal.core import token_state
from portal.core.clock import Clock
from portal.core.errors import Refused, Unavailable
from portal.core.language import _
from portal.diagnosis import network
from portal.diagnosis.checks import Checks, Step
from portal.models import Token, TokenConfig
from portal.monitoring.problems.tokens import facts_of
from portal.system import redirect_uri
from portal.tokens import access_tokens, refresh, token_claims, token_configs


def fresh(ladder: Checks, token: Token, *, min_life: timedelta, actor: str, clock: Clock) -> Token:
    """Check for a valid access token, refreshed if necessary, and return the token."""
    ladder.facts |= {name: value for name, value in facts_of(token).items() if name not in ("host", "mailbox")}
    with ladder.step(_("Access token"), Where.PROVIDER, _known_fault(token)) as step:
        if token.refused_at and token.token_config.is_valid:
            step.cause = inferred.infer(causes.recognize(token.failure or "", Where.PROVIDER), token)
        usable = access_tokens.usable_access_token(token.id, min_life=min_life, actor=actor, clock=clock)
        step.cause = None
        step.found = _life(usable)
    return usable


def _known_fault(token: Token) -> str | None:
    """Return the provider's stored response to the last rejected refresh; None: the last refresh was not rejected."""
    if not token.token_config.is_valid:
        return None
    if token.token_config.credentials_refused_at:
        return token.token_config.credentials_answer
    return token.failure if token.refused_at else None


def _life(token: Token) -> str:
    end = (
        _("valid until {expires_at:%H:%M:%S} UTC", expires_at=token.expires_at)
        if token.expires_at
        else _("expiry unknown")
    )
    return _(
        "{name}, {end}, issued {obtained_at:%Y-%m-%d %H:%M:%S} UTC",
        name=token.name,
        end=end,
        obtained_at=token.obtained_at,
    )


def fits(ladder: Checks, token: Token, where: Where) -> None:
    """Check audience, scopes, user and tenant of the access token, if it is readable."""
    assert token.access_token is not None
    claims = token_claims.read(token.access_token)
    with ladder.step(_("Token audience and scope"), Where.PORTAL) as step:
        step.found = (
            str(claims) if claims else _("opaque token; granted scope: {scope}", scope=token.granted_scope or "")
        )
        if objection := token_claims.objection(token, where):
            raise Refused(objection)


def of_token(ladder: Checks, token: Token, actor: str, clock: Clock) -> None:
    """Check the connection to the provider, then refresh the token once."""
    ladder.facts |= facts_of(token)
    _to_provider(ladder, token.token_config)
    _renews(ladder, token, actor, clock)
    _tell_end(ladder, token, clock())


def of_config(ladder: Checks, config: TokenConfig, actor: str, clock: Clock) -> None:
    """Check the connection to the provider, then refresh one token of this configuration."""
    ladder.facts |= {"client_id": config.client_id, "host": config.host, "redirect_uri": redirect_uri.uri()}
    ladder.hints += redirect_uri.warnings(None) if config.authorize_url else []
    _to_provider(ladder, config)
    if config.credentials_refused_at:
        with ladder.step(_("Client authentication"), Where.PROVIDER):
            raise Refused(config.credentials_answer or "")
    # Choose the token most likely to work: a failed token proves nothing about the client.
    troubles = (
        Token.refused_at.is_null(False),
        Token.refresh_token.is_null(),
        Token.failing_since.is_null(False),
    )
    used = Token.select().where(Token.token_config == config.id, Token.obtained_at.is_null(False))
    token = used.order_by(*troubles, Token.id).first()
    unused = (one for one in token_configs.tokens_of(config) if one.needs_no_sign_in)
    token = token or next(unused, None)
    if token is None:
        ladder.hints.append(_("The client credentials can be checked only after the first sign-in."))
    else:
        ladder.facts |= facts_of(token)
        _renews(ladder, token, actor, clock)


def _to_provider(ladder: Checks, config: TokenConfig) -> None:
    network.to_web_server(ladder, config.refresh_url or config.token_url, Where.PROVIDER)
    network.clocks_agree(ladder, config.refresh_url or config.token_url)


def _renews(ladder: Checks, token: Token, actor: str, clock: Clock) -> None:
    """Refresh the token at the provider, unless a new sign-in is required."""
    with ladder.step(_("Token refresh"), Where.PROVIDER, _known_fault(token)) as step:
        if token.refused_at and token.token_config.is_valid:
            step.cause = inferred.infer(causes.recognize(token.failure or "", Where.PROVIDER), token)
        access_tokens.raise_if_action_required(token)
        if not (token.has_refresh_token or token.needs_no_sign_in):
            step.cause = causes.named("refresh-token-missing")
            raise Refused(_("no refresh token"))
        renewed = _refreshed(step, token, actor, clock())
        step.cause = None
        if renewed is None:
            raise Unavailable(_("another worker is refreshing it, or the provider host is at its request limit"))
        step.found = _life(renewed)
    if missing := token_state.missing_scopes(token.token_config.scope, renewed.granted_scope):
        ladder.hints.append(_("Not granted: {names}.", names=", ".join(missing)))


def _refreshed(step: Step, token: Token, actor: str, now: datetime) -> Token | None:
    """Refresh the token; an unconfirmed rejection sets its own cause."""
    try:
        return refresh.refresh(token.id, actor=actor, now=now)
    except Unavailable:
        doubted = Token.select().where(Token.id == token.id, Token.first_refused_at.is_null(False)).exists()
        step.cause = causes.named("refusal-unconfirmed") if doubted else None
        raise


def _tell_end(ladder: Checks, token: Token, now: datetime) -> None:
    if token.token_config.in_testing:
        ladder.hints.append(_("The Google app is in Testing: its refresh tokens expire seven days after the sign-in."))
    if not token.has_refresh_token and not token.needs_no_sign_in:
        ladder.hints.append(_("There is no refresh token: access ends when the access token expires."))
