"""The list of tokens, with a constant number of queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import fn

from portal.core import token_state
from portal.core.paging import Asked, Listing, Page, in_any
from portal.models import Flow, MailAccount, OutboundProfile, Token, TokenConfig, Validity, WebService, tuples
from portal.system import settings
from portal.tokens import token_facts


@dataclass(frozen=True)
class Line:
    """A token, its states, and how many rows use it."""

    token: Token
    access: token_state.State
    refresh: token_state.State
    used_by: int


def page(asked: Asked, now: datetime) -> Page[Line]:
    found = listing(now).page(rows(), asked)
    used, margin = _used_by([row.id for row in found.lines]), settings.refresh_margin()

    def line(row: Token) -> Line:
        facts = token_facts.of(row, margin)
        states = token_state.access_token(facts, now), token_state.refresh_token(facts, now)
        return Line(row, *states, used.get(row.id, 0))

    return found.of(line)


def rows() -> Any:
    return Token.select(Token, TokenConfig).join(TokenConfig)


def listing(now: datetime) -> Listing:
    return Listing(
        finds=in_any(TokenConfig.name, Token.owner, TokenConfig.client_id, TokenConfig.host),
        sorts={
            "name": TokenConfig.name,
            "owner": Token.owner,
            "expires": Token.expires_at,
            "refreshed": Token.obtained_at,
            "next": Token.due_at,
        },
        states=conditions(now),
    )


def conditions(now: datetime) -> dict[str, Any]:
    """The states of ``token_state.access_token`` as conditions of a query, in the same order; similar ones as one."""
    expired = Token.failing_since.is_null() & (Token.expires_at <= now)
    return {
        "invalid": TokenConfig.validity != Validity.VALID,
        "failed": TokenConfig.credentials_refused_at.is_null(False) | Token.refused_at.is_null(False) | expired,
        "never requested": Token.obtained_at.is_null() & Token.failing_since.is_null(),
        "retrying": Token.failing_since.is_null(False),
        "valid": True,
    }


def suspended(now: datetime) -> Any:
    """Condition of a query: the token does not work until a user acts (``work_state.is_suspended``)."""
    states = conditions(now)
    renewable = Token.refresh_token.is_null(False) | (TokenConfig.flow != Flow.AUTHORIZATION_CODE)
    refused = TokenConfig.credentials_refused_at.is_null(False) | Token.refused_at.is_null(False)
    ended = Token.failing_since.is_null() & (Token.expires_at <= now) & (~renewable | Token.due_at.is_null())
    return states["invalid"] | refused | states["never requested"] | ended


def sender_conditions(
    model: type[OutboundProfile] | type[WebService], good_at: Any, now: datetime, *, unused: str, done: str
) -> dict[str, Any]:
    """The states of ``work_state.sender`` as conditions of a query, in the same order.

    ``good_at``: column of the last success; ``unused`` and ``done`` name the states without and with one.
    """
    return {
        "paused": model.validity == Validity.INVALID_TEMPORARILY,
        "invalid": model.validity != Validity.VALID,
        "waiting": model.token.is_null(False) & suspended(now),
        "failing": model.failing_since.is_null(False),
        unused: good_at.is_null(),
        done: True,
    }


def _used_by(token_ids: list[int]) -> dict[int, int]:
    """The number of mail accounts, outbound profiles and web services of each token."""
    counts: dict[int, int] = {}
    for model in (MailAccount, OutboundProfile, WebService):
        used = model.select(model.token, fn.COUNT(model.id)).where(model.token.in_(token_ids)).group_by(model.token)
        for token_id, count in tuples(used):
            counts[token_id] = counts.get(token_id, 0) + count
    return counts
