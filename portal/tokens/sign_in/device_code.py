"""Sign-in by device code (RFC 8628): started in the portal, confirmed on another device, polled by a worker."""

from datetime import datetime, timedelta

from portal import providers
from portal.core.db import transaction
from portal.core.errors import ExternalError, PortalError, Refused, Unavailable
from portal.core.language import Text, _
from portal.models import DeviceSignIn, Token, User
from portal.protocols import device, oidc
from portal.protocols.device import DeviceAnswer, StillPending
from portal.protocols.oauth2 import Client
from portal.protocols.token_responses import TokenAnswer
from portal.system import audit
from portal.tokens import client_auth
from portal.tokens.sign_in import authorization_code

#: Longer than the longest HTTP request.
_LEASE = timedelta(minutes=3)
_SLOWER = 5


def begin(token: Token, *, by: str, now: datetime) -> DeviceSignIn:
    """Request a device code from the provider; a worker then polls for the tokens."""
    config = token.token_config
    if not config.is_valid:
        raise PortalError(
            _(
                "The token configuration {name!r} is set to {validity}.",
                name=config.name,
                validity=Text(config.validity.value),
            )
        )
    if not config.device_url:
        raise PortalError(_("{name!r} has no URL for device codes.", name=config.name))

    def request(client: Client) -> DeviceAnswer:
        return device.begin(client, config.device_url, scope=config.scope, now=now)

    answer = client_auth.ask(config, request, actor=by, now=now)
    with transaction():
        row: DeviceSignIn = DeviceSignIn.create(
            token=token,
            user_code=answer.user_code[:100],
            verification_uri=answer.verification_uri,
            verification_uri_complete=answer.verification_uri_complete,
            interval=answer.interval,
            user_name=by[:100],
            started_at=now,
            expires_at=answer.expires_at,
            due_at=now + timedelta(seconds=answer.interval),
        )
        row.device_code = answer.device_code
        row.save()
        audit.about(token, by, "device-sign-in-begun", "", now)
    return row


def poll(row_id: int, *, now: datetime) -> None:
    """Poll the provider once for the result of the sign-in, and store it."""
    if not DeviceSignIn.select().where(DeviceSignIn.id == row_id, DeviceSignIn.due_at <= now).exists():
        return
    row = DeviceSignIn.claim(row_id, now=now, until=now + _LEASE)
    if row is None:
        return
    try:
        _ask(row, now)
    except StillPending as pending:
        row.interval += _SLOWER if pending.slower else 0
        row.due_at = now + timedelta(seconds=row.interval)
    except Unavailable:
        row.due_at = now + timedelta(seconds=2 * row.interval)
    except (Refused, ExternalError) as error:
        _end(row, str(error), now)
    if row.ended_at is None and now >= row.expires_at:
        _end(row, _("The code expired before the sign-in was completed. Start again."), now)
    row.release()


def _ask(row: DeviceSignIn, now: datetime) -> None:
    token, config, code = row.token, row.token.token_config, row.device_code
    assert code is not None

    def request(client: Client) -> TokenAnswer:
        return device.poll(client, config.token_url, device_code=code, now=now)

    answer = client_auth.ask(config, request, actor=row.user_name, now=now)
    identity = oidc.Identity(config.issuer, config.jwks_url, config.userinfo_url)
    claims = providers.of(config.template).owner_claims
    owner = oidc.owner_of(answer, identity, client_auth.first_of(config), nonce="", claims=claims)
    owner = authorization_code.same_owner(token, owner)
    authorization_code.store(
        token, answer, owner, by=row.user_name, user=User.get_or_none(User.name == row.user_name), now=now
    )
    _end(row, None, now)


def _end(row: DeviceSignIn, failure: str | None, now: datetime) -> None:
    row.ended_at, row.failure, row.due_at, row.device_code = now, failure, None, None
    if failure:
        audit.about(row.token, row.user_name, "sign-in-failed", failure, now)
