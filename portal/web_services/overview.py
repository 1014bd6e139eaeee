"""The list of web services."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.paging import Asked, Listing, Page
from portal.core.token_state import State
from portal.models import Token, TokenConfig, WebService
from portal.tokens import overview as token_overview
from portal.web_services import web_services


@dataclass(frozen=True)
class Line:
    service: WebService
    state: State


def page(asked: Asked, now: datetime) -> Page[Line]:
    rows = WebService.select(WebService, Token, TokenConfig).left_outer_join(Token).left_outer_join(TokenConfig)
    return listing(now).page(rows, asked).of(lambda row: Line(row, web_services.state(row, now)))


def listing(now: datetime) -> Listing:
    service = WebService
    return Listing(
        searched=(service.name, service.url),
        sorts={"name": service.name, "url": service.url, "succeeded": service.succeeded_at},
        states=conditions(now),
    )


def conditions(now: datetime) -> dict[str, Any]:
    return token_overview.sender_conditions(
        WebService, WebService.succeeded_at, now, unused="not called yet", done="succeeded"
    )
