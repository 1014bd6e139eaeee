"""Second factors of users with a password: codes of an authenticator app (RFC 6238) and recovery codes."""

import base64
import hashlib
import secrets
from datetime import datetime

import pyotp

from portal.access import rate_limit
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.language import _
from portal.models import LoginSession, Passkey, RecoveryCode, User
from portal.system import audit, settings

_STEP_SECONDS = 30
#: 120 random bits, so that a plain hash suffices (OWASP ASVS 6.5.2).
_CODES, _CODE_BYTES = 10, 15
_MOST_WRONG = 10
_ISSUER = "Mail Token Portal"


def has_one(user: User) -> bool:
    """Whether a sign-in with the password needs a second factor."""
    return user.totp_confirmed_at is not None or Passkey.select().where(Passkey.user == user).exists()


def users_with_one() -> set[int]:
    """Return the ids of the users for whom ``has_one`` is true."""
    with_app = User.select(User.id).where(User.totp_confirmed_at.is_null(False))
    return {row.id for row in with_app} | {row.user.id for row in Passkey.select()}


def must_add_one(user: User) -> bool:
    """Whether the user's role requires a second factor that the user does not have yet."""
    return user.is_local and user.role.value in settings.second_factor_roles() and not has_one(user)


# The authenticator app ------------------------------------------------------------------------------------------------


def begin_app(user: User) -> str:
    """Return the ``otpauth`` address for the app, with a new secret; it counts when a code was entered."""
    if user.totp_confirmed_at is None:
        user.totp_secret = Secret(pyotp.random_base32())
        user.save()
    return app_address(user)


def app_address(user: User) -> str:
    return _totp(user).provisioning_uri(name=user.name, issuer_name=_ISSUER)


def confirm_app(user: User, code: str, *, now: datetime) -> None:
    """Begin to ask for codes of the app. Raise Invalid for a wrong code."""
    if user.totp_secret is None or not _accept_code(user, code, now):
        raise Invalid({"code": _("The code does not match. Check the clock of the device, and enter the newest code.")})
    with transaction():
        user.totp_confirmed_at = now
        user.save()
        audit.about(user, user.name, "factor-added", "authenticator app", now)


def remove_app(user: User, *, now: datetime) -> None:
    with transaction():
        user.totp_secret = user.totp_confirmed_at = None
        user.save()
        audit.about(user, user.name, "factor-removed", "authenticator app", now)
        forget_unused_codes(user)


def _totp(user: User) -> pyotp.TOTP:
    assert user.totp_secret is not None
    return pyotp.TOTP(user.totp_secret.reveal(), interval=_STEP_SECONDS)


def _accept_code(user: User, code: str, now: datetime) -> bool:
    """Whether the code is that of the present time step or a neighbor, and no code as new was used before."""
    step, totp = int(now.timestamp()) // _STEP_SECONDS, _totp(user)
    matching = (one for one in (step, step - 1, step + 1) if secrets.compare_digest(totp.generate_otp(one), code))
    found = next(matching, 0)
    # In one statement, so that two requests at once cannot use one code.
    newer = User.update(totp_last_step=found).where(User.id == user.id, User.totp_last_step < found)
    if not found or not newer.execute():
        return False
    user.totp_last_step = found
    return True


# Sign-in --------------------------------------------------------------------------------------------------------------


def check_code(user: User, code: str, *, now: datetime) -> None:
    """Check a code of the app or a recovery code, which is then used up.

    Raise Invalid for a wrong code, RateLimited after ten wrong ones within 15 minutes.
    """
    subject = rate_limit.Subject(f"second factor:{user.id}", _MOST_WRONG)
    rate_limit.check_limit([subject], "codes", now=now)
    entered = "".join(code.split()).replace("-", "")
    by_app = user.totp_confirmed_at is not None and entered.isascii() and _accept_code(user, entered, now)
    if not by_app and not _use_recovery_code(user, entered, now):
        rate_limit.record_failure([subject], now=now)
        audit.about(user, user.name, "sign-in-failed", "wrong second factor", now)
        raise Invalid({"code": _("The code does not match or was used before.")})
    rate_limit.reset(subject)


def _use_recovery_code(user: User, entered: str, now: datetime) -> bool:
    with transaction():
        used = RecoveryCode.delete().where(RecoveryCode.user == user, RecoveryCode.code_hash == _hash(entered))
        if not used.execute():
            return False
        left = RecoveryCode.select().where(RecoveryCode.user == user).count()
        audit.about(user, user.name, "recovery-code-used", f"{left} are left", now)
    return True


# Recovery codes, reset ------------------------------------------------------------------------------------------------


def new_recovery_codes(user: User, *, now: datetime) -> list[Secret]:
    """Return ten codes that replace the older ones; only their hashes are stored."""
    codes = [base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower() for _ in range(_CODES)]
    with transaction():
        RecoveryCode.delete().where(RecoveryCode.user == user).execute()
        for code in codes:
            RecoveryCode.create(user=user, code_hash=_hash(code))
        audit.about(user, user.name, "recovery-codes-made", "", now)
    return [Secret("-".join(code[at : at + 4] for at in range(0, len(code), 4))) for code in codes]


def first_recovery_codes(user: User, *, now: datetime) -> list[Secret]:
    """Return new codes if the user has none; called after a factor was added."""
    has_codes = RecoveryCode.select().where(RecoveryCode.user == user).exists()
    return [] if has_codes else new_recovery_codes(user, now=now)


def forget_unused_codes(user: User) -> None:
    """Delete the recovery codes of a user without any other factor."""
    if not has_one(user):
        RecoveryCode.delete().where(RecoveryCode.user == user).execute()


def reset(user: User, *, actor: str, now: datetime) -> None:
    """Remove all factors of a user who has lost them, and end the user's sessions."""
    with transaction():
        Passkey.delete().where(Passkey.user == user).execute()
        RecoveryCode.delete().where(RecoveryCode.user == user).execute()
        LoginSession.delete().where(LoginSession.user == user).execute()
        User.update(totp_secret=None, totp_confirmed_at=None).where(User.id == user.id).execute()
        audit.about(user, actor, "factors-reset", "all sessions ended", now)


def _hash(code: str) -> str:
    return hashlib.sha256(code.lower().encode()).hexdigest()
