"""What happens in the portal that a web service may be called for, and the call that is then asked for."""

import logging
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from peewee import DatabaseError

from portal.core.db import transaction
from portal.core.errors import Refused
from portal.models import Validity, WebService, WebServiceCall
from portal.triggers import body_templates

logger = logging.getLogger(__name__)


class Occasion(StrEnum):
    MAIL_DELIVERED = "mail delivered"
    TOKEN_REFRESHED = "token refreshed"
    TOKEN_REFUSED = "token refused"
    NOTICE_OPENED = "notice opened"
    NOTICE_CLOSED = "notice closed"


#: An example of each variable, by which a template is checked and explained.
EXAMPLES: dict[str, dict[str, Any]] = {
    Occasion.MAIL_DELIVERED.value: {
        "account": "Help desk",
        "destination": "Inbox",
        "message_id": "<1@example.com>",
        "sender": "Ada <ada@example.com>",
        "subject": "Printer on fire",
        "size": 6144,
    },
    Occasion.TOKEN_REFRESHED.value: {"token": "Microsoft/helpdesk@example.com", "expires_at": "2026-01-01T12:00:00Z"},
    Occasion.TOKEN_REFUSED.value: {"token": "Microsoft/helpdesk@example.com", "reason": "invalid_grant: revoked"},
    Occasion.NOTICE_OPENED.value: {
        "text": "The refresh token for “Microsoft/helpdesk@example.com” was refused.",
        "reason": "invalid_grant: revoked",
        "standing_still": ["Help desk"],
        "cause": "refresh-token-revoked",
        "level": "broken",
        "remedy": ["Press Request new token and sign helpdesk@example.com in again."],
    },
    Occasion.NOTICE_CLOSED.value: {
        "text": "The refresh token for “Microsoft/helpdesk@example.com” was refused.",
        "minutes": 12,
    },
    "destination": {
        "account": "Help desk",
        "message_id": "<1@example.com>",
        "sender": "Ada <ada@example.com>",
        "subject": "Printer on fire",
        "size": 6144,
        "content": "RnJvbTogQWRhIDxhZGFAZXhhbXBsZS5jb20+DQo=",
    },
    "by hand": {"values": {"ticket": "4711"}},
}


def variables(occasion: str, facts: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """``occasion`` and ``at`` beside what is known of it."""
    return {"occasion": occasion, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}", **facts}


def listening(occasion: Occasion) -> list[WebService]:
    """The web services that are called at this occasion."""
    like = WebService.occasions.contains(occasion.value)
    return list(WebService.select().where(WebService.validity != Validity.INVALID, like))


def tell(
    services: Iterable[WebService], occasion: Occasion, facts: Mapping[str, Any], cause: str, *, now: datetime
) -> None:
    """Ask for a call of each; one whose body cannot be made fails, and takes nothing with it."""
    for row in services:
        try:
            with transaction():
                ask(row, f"{occasion.value}: {cause}", variables(occasion, facts, now), now=now)
        except Refused as error:
            row.failing_since, row.failure = row.failing_since or now, str(error)
            row.failed_at, row.failing_side = now, error.side
            row.save()
        except DatabaseError:
            # It was deleted meanwhile, for one; what it was to hear of has happened all the same.
            logger.exception("%s was not told of %s", row, occasion.value)


def ask(row: WebService, cause: str, given: Mapping[str, Any], *, now: datetime) -> WebServiceCall:
    """Write down a call, due at once; its body is made now. Refused when the body cannot be made."""
    body = body_templates.render(row.body, dict(given))
    key = secrets.token_hex(16)
    return WebServiceCall.create(
        web_service=row, key=key, cause=cause[:250], url=row.url, body=body, created_at=now, look_at=now
    )
