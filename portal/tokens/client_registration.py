"""Token configurations for clients that the portal registers at the provider itself (RFC 7591)."""

from datetime import datetime

from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused
from portal.core.language import _
from portal.core.urls import url_problem
from portal.models import ClientAuth, TokenConfig
from portal.protocols import dynamic_registration
from portal.providers import Template
from portal.system import redirect_uri
from portal.tokens import config_fields, token_configs
from portal.tokens.config_fields import URLS, NewSecret


def register(
    template: Template, *, name: str, issuer: str, initial_token: Secret | None, actor: str, now: datetime
) -> TokenConfig:
    """Register the portal at the issuer and add a configuration for the new client.

    Invalid: the name or the issuer; Refused: the issuer does not register clients, or not this one.
    """
    name = name.strip()
    if not name or TokenConfig.select().where(TokenConfig.name == name).exists():
        raise Invalid({"name": _("Enter a name that no other token configuration has.")})
    found = token_configs.discovered(issuer)
    url = found.get("registration_url", "")
    if not url or url_problem(url):
        raise Refused(
            _(
                "{issuer} does not register clients itself: its discovery document names no endpoint for it.",
                issuer=issuer,
            )
        )
    client = dynamic_registration.register(
        url, redirect_uri=redirect_uri.uri(), scope=template.scope, initial_token=initial_token
    )
    endpoints = {key: value for key, value in found.items() if key in (*URLS, "issuer")}
    entered = config_fields.from_template(template, name=name, client_id=client.client_id, **endpoints)
    entered.client_auth = ClientAuth(client.auth)
    return token_configs.add(template, entered, NewSecret(client.secret, client.secret_ends_at), actor=actor, now=now)
