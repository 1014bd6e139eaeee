"""The list of outbound profiles."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.language import _
from portal.core.paging import Asked, Listing, Page, in_any
from portal.core.token_state import State
from portal.models import OutboundProfile, Token, TokenConfig
from portal.outgoing import outbound_profiles
from portal.tokens import overview as token_overview


@dataclass(frozen=True)
class Line:
    profile: OutboundProfile
    state: State


def page(asked: Asked, now: datetime) -> Page[Line]:
    rows = (
        OutboundProfile.select(OutboundProfile, Token, TokenConfig).left_outer_join(Token).left_outer_join(TokenConfig)
    )
    return listing(now).page(rows, asked).of(lambda row: Line(row, outbound_profiles.state(row, now)))


def listing(now: datetime) -> Listing:
    profile = OutboundProfile
    return Listing(
        finds=in_any(profile.name, profile.host, profile.login, profile.senders),
        sorts={"name": profile.name, "host": profile.host, "sent": profile.sent_at},
        states=conditions(now),
    )


def conditions(now: datetime) -> dict[str, Any]:
    return token_overview.sender_conditions(
        OutboundProfile, OutboundProfile.sent_at, now, unused=_("nothing sent yet"), done=_("sent")
    )
