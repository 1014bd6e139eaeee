"""Renewal of client certificates at Microsoft, in steps that a worker takes one at a time.

A new certificate is added to the app registration beside the current one, replaces it once a token was requested with
it, and the replaced one is removed a day later. Each step is stored before the next; a step that was interrupted is
taken again.
"""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from portal import causes, providers
from portal.causes import Where
from portal.core import errors, retry_pauses
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Refused
from portal.core.language import _
from portal.models import CertificateRenewal, TokenConfig
from portal.protocols import app_registration, oauth2, token_responses
from portal.protocols.app_registration import AppRegistration
from portal.system import audit
from portal.tokens import certificates, client_auth

logger = logging.getLogger(__name__)
#: Before expiry: early enough that the warning of an expiring certificate means that the renewal failed.
_BEGINS_BEFORE = timedelta(days=60)
#: A replaced certificate is kept this long: not every server of the provider knows the new one at once.
_KEPT = timedelta(days=1)
#: Microsoft says that a new certificate can be used after some minutes.
_PROPAGATION = timedelta(minutes=2)
_LONGEST_PROPAGATION = timedelta(days=1)
#: Longer than the requests of one step.
_LEASE = timedelta(minutes=5)
_LOOK_AGAIN = timedelta(days=1)


def begins_at(config: TokenConfig) -> datetime:
    """When the renewal begins: 60 days before expiry, or in the last third of a shorter life."""
    certificate = certificates.parsed(config.certificate)
    end = certificate.not_valid_after_utc
    return end - min(_BEGINS_BEFORE, (end - certificate.not_valid_before_utc) / 3)


def described(config: TokenConfig) -> str:
    """The state of the renewal in one sentence; empty: the certificate is not renewed."""
    row = CertificateRenewal.get_or_none(CertificateRenewal.token_config == config.id)
    if row is None:
        return ""
    if row.failure:
        return _("The renewal at Microsoft failed: {reason}", reason=causes.explained(row.failure, Where.PROVIDER, {}))
    if row.next_added_at:
        return _("A new certificate was added at Microsoft. The portal uses it once Microsoft accepts it.")
    if row.replaced_key_id:
        return _("The certificate was renewed. The portal removes the old one at Microsoft after a day.")
    return _("The portal renews it at Microsoft from {at:%Y-%m-%d}.", at=begins_at(config))


def renew_if_due(renewal_id: int, *, now: datetime) -> None:
    """Take the next step of a renewal that is due. A failure is stored in the row."""
    row = CertificateRenewal.claim(renewal_id, now=now, until=now + _LEASE)
    if row is None:
        return
    if not row.token_config.renews_certificate:
        row.due_at = None
    elif row.due_at and row.due_at <= now:
        _take_step(row, now)
    row.release()


def _take_step(row: CertificateRenewal, now: datetime) -> None:
    try:
        with errors.guarded(f"Certificate renewal of token configuration {row.token_config.id}"):
            row.due_at = _step(row, now)
    except ExternalError as error:
        logger.warning("Certificate renewal of token configuration %s failed: %s", row.token_config.id, error)
        row.note_failure(error, causes.recognize(str(error), Where.PROVIDER).name, now)
        row.due_at = now + _LOOK_AGAIN if isinstance(error, Refused) else retry_pauses.retry_at(now, 6)
    else:
        row.clear_failure()


def _step(row: CertificateRenewal, now: datetime) -> datetime:
    """Take the next step and return when the one after it is due."""
    config = row.token_config
    if row.replaced_key_id:
        return _remove_replaced(row, now)
    if row.next_certificate:
        return _introduce(row, now)
    if not config.is_valid or now < begins_at(config):
        return max(begins_at(config), now + _LOOK_AGAIN)
    row.next_certificate, row.next_private_key = certificates.new(config, now=now)
    return now


def _introduce(row: CertificateRenewal, now: datetime) -> datetime:
    """Replace the certificate if the next one works already, or else add the next one at Microsoft."""
    config, certificate, key = row.token_config, row.next_certificate, row.next_private_key
    assert certificate is not None
    assert key is not None
    if _is_accepted(config, certificate, key, now):
        return _replace(row, certificate, key, now)
    if row.next_added_at is None:
        row.next_key_id = app_registration.add_key(_app(config, now), certificate, now=now) or None
        row.next_added_at = now
        audit.about(config, audit.WORKER, "certificate-added", "at Microsoft; used once it works", now)
    elif now - row.next_added_at > _LONGEST_PROPAGATION:
        raise Refused(_("The new certificate was added at Microsoft a day ago, and is still not accepted."))
    return now + max(_PROPAGATION, (now - row.next_added_at) / 2)


def _is_accepted(config: TokenConfig, certificate: str, key: Secret, now: datetime) -> bool:
    try:
        _token(config, certificate, key, now)
    except Refused as error:
        if error.answer.error in token_responses.CREDENTIALS_ERRORS:
            return False
        raise
    return True


def _replace(row: CertificateRenewal, certificate: str, key: Secret, now: datetime) -> datetime:
    """Put the next certificate in the place of the current one, unless a person changed that one meanwhile."""
    config, old = row.token_config, certificates.thumbprint(row.token_config)
    row.replaced_key_id, row.key_id, row.next_key_id = row.key_id, row.next_key_id, None
    row.next_added_at = None
    row.next_certificate = row.next_private_key = None
    row.due_at = now + _KEPT
    left = "" if row.replaced_key_id else f". Remove {old} at Microsoft: the portal does not know its ID"
    with transaction():
        if row.release():
            config.certificate, config.private_key, config.changed_at = certificate, key, now
            config.save(only=[TokenConfig.certificate, TokenConfig.private_key, TokenConfig.changed_at])
            thumbprint = f"SHA-1 thumbprint {certificates.thumbprint(config)}{left}"
            audit.about(config, audit.WORKER, "certificate-renewed", thumbprint, now)
    return row.due_at


def _remove_replaced(row: CertificateRenewal, now: datetime) -> datetime:
    assert row.replaced_key_id is not None
    try:
        app_registration.remove_key(_app(row.token_config, now), row.replaced_key_id, now=now)
    except Refused as error:
        # The certificate was removed already, or a policy forbids to remove it: it expires at its end.
        audit.about(row.token_config, audit.WORKER, "certificate-not-removed", str(error), now)
    else:
        audit.about(row.token_config, audit.WORKER, "certificate-removed", row.replaced_key_id, now)
    row.replaced_key_id = None
    return now


def _app(config: TokenConfig, now: datetime) -> AppRegistration:
    certificate, key = config.certificate, config.private_key
    assert certificate is not None
    assert key is not None
    return AppRegistration(
        graph_origin(config), config.app_object_id, _token(config, certificate, key, now), certificate, key
    )


def graph_origin(config: TokenConfig) -> str:
    return f"https://{providers.of(config.template).graph_host}"


def _token(config: TokenConfig, certificate: str, key: Secret, now: datetime) -> Secret:
    """Request an app-only token for Graph with a certificate. It may have no permission: none is needed."""
    client = replace(client_auth.first_of(config), certificate=certificate, secret=key)
    scope = f"{graph_origin(config)}/.default"
    return oauth2.client_credentials(client, config.token_url, scope=scope, now=now).access_token
