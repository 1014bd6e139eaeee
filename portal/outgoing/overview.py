"""The list of outbound profiles."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.paging import Asked, Listing, Page
from portal.core.token_state import State
from portal.models import OutboundProfile, Token, TokenConfig, Validity
from portal.outgoing import outbound_profiles
from portal.tokens import overview as token_overview


@dataclass(frozen=True)
class Line:
    profile: OutboundProfile
    state: State


def page(asked: Asked, now: datetime) -> Page[Line]:
    rows = OutboundProfile.select(OutboundProfile, Token, TokenConfig).left_outer_join(Token)
    found = listing(now).page(rows.left_outer_join(TokenConfig), asked)
    lines = [Line(row, outbound_profiles.state(row, now)) for row in found.lines]
    return Page(asked, lines, found.total, found.counts)


def listing(now: datetime) -> Listing:
    profile = OutboundProfile
    return Listing(
        searched=(profile.name, profile.host, profile.login, profile.senders),
        sorts={"name": profile.name, "host": profile.host, "sent": profile.sent_at},
        states=conditions(now),
    )


def conditions(now: datetime) -> dict[str, Any]:
    """The states of ``work_state.sender`` as conditions of a query, in the same order."""
    return {
        "paused": OutboundProfile.validity == Validity.INVALID_TEMPORARILY,
        "invalid": OutboundProfile.validity != Validity.VALID,
        "waiting": OutboundProfile.token.is_null(False) & token_overview.suspended(now),
        "failing": OutboundProfile.failing_since.is_null(False),
        "nothing sent yet": OutboundProfile.sent_at.is_null(),
        "sent": True,
    }
