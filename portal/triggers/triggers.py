"""Triggers: portal events that call web services, and the calls they queue."""

import logging
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from peewee import DatabaseError

from portal import causes
from portal.causes import Where
from portal.core.db import transaction
from portal.core.errors import Refused
from portal.models import Validity, WebService, WebServiceCall
from portal.triggers import body_templates

logger = logging.getLogger(__name__)


class Trigger(StrEnum):
    MAIL_DELIVERED = "mail delivered"
    TOKEN_REFRESHED = "token refreshed"
    TOKEN_REFUSED = "token refused"
    NOTICE_OPENED = "notice opened"
    NOTICE_CLOSED = "notice closed"


#: Example variables of each trigger, to check body templates and to document the variables.
EXAMPLES: dict[str, dict[str, Any]] = {
    Trigger.MAIL_DELIVERED.value: {
        "account": "Help desk",
        "destination": "Inbox",
        "message_id": "<1@example.com>",
        "sender": "Ada <ada@example.com>",
        "subject": "Printer on fire",
        "size": 6144,
    },
    Trigger.TOKEN_REFRESHED.value: {"token": "Microsoft/helpdesk@example.com", "expires_at": "2026-01-01T12:00:00Z"},
    Trigger.TOKEN_REFUSED.value: {"token": "Microsoft/helpdesk@example.com", "reason": "invalid_grant: revoked"},
    Trigger.NOTICE_OPENED.value: {
        "text": "The refresh token for “Microsoft/helpdesk@example.com” was refused.",
        "reason": "invalid_grant: revoked",
        "standing_still": ["Help desk"],
        "cause": "refresh-token-revoked",
        "level": "broken",
        "remedy": ["Press Request new token and sign helpdesk@example.com in again."],
    },
    Trigger.NOTICE_CLOSED.value: {
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
    """Return the template variables: the facts, with the name of the trigger (``occasion``) and ``at`` (UTC) added."""
    return {"occasion": occasion, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}", **facts}


def subscribers(occasion: Trigger) -> list[WebService]:
    """Return the web services that this trigger calls."""
    like = WebService.triggers.contains(occasion.value)
    return list(WebService.select().where(WebService.validity != Validity.INVALID, like))


def fire(
    services: Iterable[WebService], occasion: Trigger, facts: Mapping[str, Any], cause: str, *, now: datetime
) -> None:
    """Queue a call of each service. A service whose body cannot be rendered fails without affecting the others."""
    for row in services:
        try:
            with transaction():
                queue_call(row, f"{occasion.value}: {cause}", variables(occasion, facts, now), now=now)
        except Refused as error:
            row.note_failure(error, causes.of_failure(error, Where.HTTP), now)
            row.save()
        except DatabaseError:
            # For example a service deleted meanwhile; the action behind the trigger must not fail.
            logger.exception("Web service %s: queuing a call for trigger “%s” failed", row, occasion.value)


def queue_call(row: WebService, cause: str, given: Mapping[str, Any], *, now: datetime) -> WebServiceCall:
    """Queue a call that is due now. Raises Refused if its body cannot be rendered."""
    body = body_templates.render(row.body, dict(given))
    key = secrets.token_hex(16)
    return WebServiceCall.create(
        web_service=row, key=key, cause=cause[:250], url=row.url, body=body, created_at=now, due_at=now
    )
