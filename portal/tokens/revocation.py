"""Revocation: ends a sign-in at the provider and in the portal, or removes its tokens from the portal only."""

from datetime import datetime

from portal.core.db import transaction
from portal.core.errors import PortalError
from portal.core.language import _
from portal.models import Token
from portal.protocols import oauth2
from portal.protocols.oauth2 import Client
from portal.system import audit
from portal.tokens import client_auth


def revoke(token: Token, *, actor: str, now: datetime) -> None:
    """Revoke the token at the provider (RFC 7009), then forget it. If the provider fails, nothing changes."""
    config, held, hint = token.token_config, token.refresh_token, "refresh_token"
    if held is None:
        held, hint = token.access_token, "access_token"
    if held is None or not config.revocation_url:
        raise PortalError(
            _(
                "{name!r} cannot be revoked: it has no token, or the provider does not support revocation.",
                name=token.name,
            )
        )

    def request(client: Client) -> None:
        oauth2.revoke(client, config.revocation_url, token=held, hint=hint, now=now)

    client_auth.ask(config, request, actor=actor, now=now)
    audit.about(token, actor, "revoked", "at the provider", now)
    forget(token, actor=actor, now=now)


#: Columns that a sign-in sets.
_GIVEN = (
    Token.access_token,
    Token.refresh_token,
    Token.previous_refresh_token,
    Token.owner,
    Token.expires_at,
    Token.expiry_note,
    Token.obtained_at,
    Token.refresh_token_used_at,
    Token.refresh_token_expires_at,
    Token.granted_scope,
    Token.requested_scope,
    Token.signed_in_at,
    Token.signed_in_by,
    Token.failing_since,
    Token.failed_at,
    Token.failure,
    Token.failure_cause,
    Token.first_refused_at,
    Token.refused_at,
    Token.due_at,
)


def forget(token: Token, *, actor: str, now: datetime) -> None:
    """Remove the tokens and the sign-in from the portal; the provider is not notified."""
    if token.signed_in_at is None:
        raise PortalError(_("{name!r} has no sign-in to forget.", name=token.name))
    name = token.name
    clear(token)
    with transaction():
        token.overwrite()
        audit.about(token, actor, "forgotten", f"was {name}", now)


def clear(token: Token) -> None:
    """Remove from the row all that a sign-in gave; the row is not saved."""
    for column in _GIVEN:
        setattr(token, column.name, None)
    token.tries = 0
