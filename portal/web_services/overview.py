"""The list of web services."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.paging import Asked, Listing, Page
from portal.core.token_state import State
from portal.models import Token, TokenConfig, Validity, WebService
from portal.tokens import overview as token_overview
from portal.web_services import web_services


@dataclass(frozen=True)
class Line:
    service: WebService
    state: State


def page(asked: Asked, now: datetime) -> Page[Line]:
    rows = WebService.select(WebService, Token, TokenConfig).left_outer_join(Token)
    found = listing(now).page(rows.left_outer_join(TokenConfig), asked)
    lines = [Line(row, web_services.state(row, now)) for row in found.lines]
    return Page(asked, lines, found.total, found.counts)


def listing(now: datetime) -> Listing:
    service = WebService
    return Listing(
        searched=(service.name, service.url),
        sorts={"name": service.name, "url": service.url, "succeeded": service.succeeded_at},
        states=conditions(now),
    )


def conditions(now: datetime) -> dict[str, Any]:
    """The states of ``work_state.sender`` as conditions of a query, in the same order."""
    return {
        "paused": WebService.validity == Validity.INVALID_TEMPORARILY,
        "invalid": WebService.validity != Validity.VALID,
        "waiting": WebService.token.is_null(False) & token_overview.suspended(now),
        "failing": WebService.failing_since.is_null(False),
        "not called yet": WebService.succeeded_at.is_null(),
        "succeeded": True,
    }
