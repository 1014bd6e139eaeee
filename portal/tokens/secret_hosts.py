"""The hosts that receive a configuration's client secret and tokens: an edited URL must not send them elsewhere."""

from urllib.parse import urlsplit

from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.language import _
from portal.models import ClientSecret, Flow, Token, TokenConfig
from portal.tokens import revocation
from portal.tokens.config_fields import Fields

#: The URLs that a client secret, a refresh token or an access token is sent to, and those that vouch for an account.
_RECEIVING = ("token_url", "refresh_url", "device_url", "revocation_url", "userinfo_url", "issuer", "jwks_url")


def new_hosts(config: TokenConfig, entered: Fields) -> list[str]:
    """Return the entered hosts that the configuration does not have yet."""
    return sorted(_hosts(entered) - _hosts(config))


def _hosts(values: TokenConfig | Fields) -> set[str]:
    return {urlsplit(url).netloc.lower() for name in _RECEIVING if (url := getattr(values, name))}


def require_secret(config: TokenConfig, entered: Fields, secret: Secret | None) -> None:
    """Raise Invalid if a new host would get a stored client secret: it must be entered again."""
    if not (found := new_hosts(config, entered)) or secret:
        return
    if config.client_auth.has_secrets and config.flow is not Flow.JWT_BEARER and config.client_secret:
        text = _(
            "{host} is another host. Enter the client secret again; the sign-ins are removed, because they must not be "
            "sent there.",
            host=found[0],
        )
        raise Invalid({"client_secret": text})


def remove_stored(config: TokenConfig) -> None:
    """Remove the client secrets and the tokens that belong to the previous hosts."""
    if config.flow is not Flow.JWT_BEARER:
        ClientSecret.delete().where(ClientSecret.token_config == config.id).execute()
    for token in Token.select().where(Token.token_config == config.id, Token.signed_in_at.is_null(False)):
        owner = token.owner
        revocation.clear(token)
        if not config.flow.has_sign_in:
            # The application requests a new one at the new host.
            token.owner, token.due_at = owner, config.changed_at
        token.overwrite()
