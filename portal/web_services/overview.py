"""The list of web services."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.language import _
from portal.core.paging import Asked, Listing, Page, in_any, values_of
from portal.core.token_state import State
from portal.models import CallState, Token, TokenConfig, WebService, WebServiceCall
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
        finds=in_any(service.name, service.url),
        sorts={"name": service.name, "url": service.url, "succeeded": service.succeeded_at},
        states=conditions(now),
    )


CALL_STATES = values_of(WebServiceCall.state, CallState)


def calls(service: WebService, asked: Asked) -> Page[WebServiceCall]:
    call = WebServiceCall
    sorts = {"created": call.id, "trigger": call.cause, "duration": call.seconds}
    return Listing(in_any(call.cause), sorts, CALL_STATES).page(service.calls, asked)


def conditions(now: datetime) -> dict[str, Any]:
    return token_overview.sender_conditions(
        WebService, WebService.succeeded_at, now, unused=_("not called yet"), done=_("succeeded")
    )
