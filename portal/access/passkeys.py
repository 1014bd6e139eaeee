"""Passkeys as second factor (Web Authentication): registration and sign-in; the browser's part is in portal.js.

The library is imported in the functions: it needs time and memory, and most processes never use it.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from portal.access import second_factors
from portal.core.db import transaction
from portal.core.errors import Invalid, Refused
from portal.core.language import _
from portal.core.loopback import is_address
from portal.models import Passkey, User
from portal.system import audit, settings

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

_NAME = "Mail Token Portal"
_CHALLENGE_LIFE = timedelta(minutes=5)


@dataclass(frozen=True)
class Request:
    """What the browser is asked. ``options`` is JSON; ``challenge`` (Base64url) is compared with the response."""

    options: str
    challenge: str


def are_possible() -> bool:
    """Whether browsers create passkeys for the portal's address: a name with https, or localhost."""
    host = settings.host()
    return not is_address(host) and (settings.uses_https() or host == "localhost")


def request_new(user: User) -> Request:
    """Return the request to create a passkey on a device that has none of the user's yet."""
    import webauthn
    from webauthn.helpers import bytes_to_base64url, structs

    options = webauthn.generate_registration_options(
        rp_id=settings.host(), rp_name=_NAME, user_name=user.name, user_id=str(user.id).encode(),
        exclude_credentials=_descriptors(user),
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            user_verification=structs.UserVerificationRequirement.PREFERRED
        ),
    )  # fmt: skip
    return Request(webauthn.options_to_json(options), bytes_to_base64url(options.challenge))


def add(user: User, name: str, response: str, challenge: str, *, now: datetime) -> Passkey:
    """Store the created passkey. Raise Invalid if the response does not belong to the request."""
    import webauthn
    from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        found = webauthn.verify_registration_response(
            credential=response, expected_challenge=base64url_to_bytes(challenge), expected_rp_id=settings.host(),
            expected_origin=settings.portal_url().rstrip("/"), require_user_verification=False,
        )  # fmt: skip
    except (WebAuthnException, ValueError) as error:
        raise Invalid({"response": _("The passkey was not accepted: {error}", error=error)}) from None
    shown = "".join(filter(str.isprintable, name)).strip()[:100] or "Passkey"
    with transaction():
        row = Passkey.create(
            user=user, name=shown, credential_id=bytes_to_base64url(found.credential_id),
            public_key=bytes_to_base64url(found.credential_public_key), sign_count=found.sign_count, created_at=now,
        )  # fmt: skip
        audit.about(user, user.name, "factor-added", f"passkey {row.name}", now)
    return row


def request_sign_in(user: User, *, now: datetime) -> Request:
    """Return the request to sign with one of the user's passkeys, within five minutes and once."""
    import webauthn
    from webauthn.helpers import bytes_to_base64url

    challenge = int(now.timestamp() * 1_000_000).to_bytes(8) + secrets.token_bytes(24)
    options = webauthn.generate_authentication_options(
        rp_id=settings.host(), challenge=challenge, allow_credentials=_descriptors(user)
    )
    return Request(webauthn.options_to_json(options), bytes_to_base64url(options.challenge))


def check(user: User, response: str, challenge: str, *, now: datetime) -> None:
    """Check a signature. Raise Refused if it is not one of the user's passkeys over this challenge."""
    import webauthn
    from webauthn.helpers import base64url_to_bytes, parse_authentication_credential_json
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        credential = parse_authentication_credential_json(response)
        row: Passkey | None = Passkey.get_or_none(Passkey.user == user, Passkey.credential_id == credential.id)
        if row is None:
            raise Refused(_("This passkey does not belong to the user."))
        found = webauthn.verify_authentication_response(
            credential=credential, expected_challenge=base64url_to_bytes(challenge), expected_rp_id=settings.host(),
            expected_origin=settings.portal_url().rstrip("/"), require_user_verification=False,
            credential_public_key=base64url_to_bytes(row.public_key), credential_current_sign_count=row.sign_count,
        )  # fmt: skip
    except (WebAuthnException, ValueError) as error:
        audit.about(user, user.name, "sign-in-failed", "wrong passkey", now)
        raise Refused(_("The passkey was not accepted: {error}", error=error)) from None
    issued_at = _issued_at(challenge)
    # In one statement, and with the time of the challenge: the browser's session, which holds it, could be a copy.
    unused = Passkey.challenge_at.is_null() | (Passkey.challenge_at < issued_at)
    used = Passkey.update(sign_count=found.new_sign_count, challenge_at=issued_at, used_at=now)
    if now > issued_at + _CHALLENGE_LIFE or not used.where(Passkey.id == row.id, unused).execute():
        raise Refused(_("This request to the passkey is too old or was used before. Try again."))


def _issued_at(challenge: str) -> datetime:
    from webauthn.helpers import base64url_to_bytes

    return datetime.fromtimestamp(int.from_bytes(base64url_to_bytes(challenge)[:8]) / 1_000_000, UTC)


def remove(row: Passkey, *, now: datetime) -> None:
    with transaction():
        audit.about(row.user, row.user.name, "factor-removed", f"passkey {row.name}", now)
        row.delete_instance()
        second_factors.forget_unused_codes(row.user)


def _descriptors(user: User) -> "list[PublicKeyCredentialDescriptor]":
    from webauthn.helpers import base64url_to_bytes, structs

    rows = Passkey.select().where(Passkey.user == user)
    return [structs.PublicKeyCredentialDescriptor(id=base64url_to_bytes(row.credential_id)) for row in rows]
