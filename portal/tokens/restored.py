"""Tokens of a restored backup: an old refresh token must not be used where that ends the sign-in.

A provider that replaces refresh tokens may take the use of an older one for a theft, and revoke all tokens of the
sign-in (RFC 9700 section 4.14.2). Microsoft and Google do not.
"""

from datetime import datetime

from portal import providers
from portal.core.db import transaction
from portal.core.errors import NotFound
from portal.models import Token
from portal.system import audit

#: In the catalog of causes.
CAUSE = "restored-token-held"
REASON = (
    "The portal was restored from a backup of {made_at}. This provider replaces refresh tokens, so the restored one "
    "may be old, and its use could end the sign-in. Sign in again, or press Refresh now to try it."
)


def hold_back(made_at: str, *, now: datetime) -> list[Token]:
    """Stop the refreshes of tokens whose provider has replaced a refresh token before; return these tokens."""
    rotating = Token.select().where(Token.previous_refresh_token.is_null(False), Token.refused_at.is_null())
    held = [token for token in rotating if not _is_reuse_harmless(token.token_config.template)]
    with transaction():
        for token in held:
            token.refused_at, token.due_at = now, None
            token.failure, token.failure_cause = REASON.format(made_at=made_at), CAUSE
            token.save()
            audit.about(token, audit.COMMAND_LINE, "held-back", f"backup of {made_at}", now)
    return held


def _is_reuse_harmless(key: str) -> bool:
    try:
        template = providers.find(key)
    except NotFound:
        return False
    return bool(template.graph_host) or key.startswith("google")
