"""A configuration's client as it proves itself to the provider, one secret after the other."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from portal.core.db import transaction
from portal.core.errors import Refused
from portal.models import ClientAuth, ClientSecret, TokenConfig
from portal.protocols import oauth2
from portal.protocols.oauth2 import Client
from portal.system import audit

Answer = TypeVar("Answer")


def first_of(config: TokenConfig) -> Client:
    """The client with the secret in use; for what is only about its ID."""
    return _with_secret(config, config.client_secret)


def ask(config: TokenConfig, request: Callable[[Client], Answer], *, actor: str, now: datetime) -> Answer:
    """Make a request with each secret in turn until the provider takes one.

    A secret that it rejects is marked and tried last from then on. When it rejects them all, the last Refused is
    raised; so is any other, at once.
    """
    secrets = config.client_secrets if config.client_auth is not ClientAuth.PRIVATE_KEY_JWT else []
    for secret in secrets[:-1]:
        try:
            return _taken(secret, request(_with_secret(config, secret)))
        except Refused as error:
            if error.answer.error not in oauth2.CREDENTIALS_ERRORS:
                raise
            _mark(config, secret, actor, now)
    if not secrets:
        return request(_with_secret(config, None))
    return _taken(secrets[-1], request(_with_secret(config, secrets[-1])))


def _taken(secret: ClientSecret, answer: Answer) -> Answer:
    """The provider took it: whatever it said of this secret before is past."""
    if secret.refused_at:
        ClientSecret.update(refused_at=None).where(ClientSecret.id == secret.id).execute()
    return answer


def _with_secret(config: TokenConfig, secret: ClientSecret | None) -> Client:
    if config.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        if config.private_key is None:
            raise Refused("There is no certificate for this client; make or upload one.")
        return Client(config.client_id, config.private_key, config.client_auth.value, config.certificate or "")
    return Client(config.client_id, secret.value if secret else None, config.client_auth.value)


def _mark(config: TokenConfig, secret: ClientSecret, actor: str, now: datetime) -> None:
    if secret.refused_at is None:
        with transaction():
            ClientSecret.update(refused_at=now).where(ClientSecret.id == secret.id).execute()
            audit.about(
                config, actor, "client-secret-refused", f"the one set {secret.set_at:%Y-%m-%d}; the next is tried", now
            )
