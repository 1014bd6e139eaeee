"""Builds TokenFacts for ``portal.core.token_state`` from a token, its configuration and its template."""

from datetime import timedelta

from portal import providers
from portal.core.token_state import TokenFacts
from portal.models import Token


def of(token: Token, margin: timedelta) -> TokenFacts:
    """Return the facts of a token; ``margin`` is the portal's refresh margin."""
    config = token.token_config
    return TokenFacts(
        config_valid=config.is_valid,
        credentials_refused_at=config.credentials_refused_at,
        credentials_answer=config.credentials_answer,
        signed_in_at=token.signed_in_at,
        expires_at=token.expires_at,
        has_access_token=token.obtained_at is not None,
        has_refresh_token=token.has_refresh_token,
        app_only=not config.flow.has_sign_in,
        lacks_mailbox=token.lacks_mailbox,
        refresh_token_used_at=token.refresh_token_used_at,
        refresh_token_expires_at=token.refresh_token_expires_at,
        refresh_token_idle_life=providers.of(config.template).refresh_token_idle_life,
        in_testing=config.in_testing,
        failing_since=token.failing_since,
        failure=token.failure,
        first_refused_at=token.first_refused_at,
        refused_at=token.refused_at,
        due_at=token.due_at,
        margin=margin,
    )
