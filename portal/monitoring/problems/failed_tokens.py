"""Failed and expired tokens, grouped by the problem that they have in common; there may be tens of thousands."""

from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from peewee import SQL, Case, fn

from portal.models import Flow, Token, TokenConfig, Validity, tuples

#: Maximum number of values in one SQL statement.
_SLICE = 500
#: Identifies a group of tokens with one problem in common.
Group = tuple[object, ...]


class Trouble(IntEnum):
    """What is wrong with a token; what concerns many tokens comes first."""

    CLIENT = 0
    #: The provider does not issue tokens.
    FAILING = 1
    REFUSED = 2
    #: Rejected once.
    DOUBTED = 3
    EXPIRED = 4


class FailedToken(NamedTuple):
    """``is_usable``: the access token is still valid."""

    id: int
    config: int
    trouble: Trouble
    cause: str | None
    is_usable: bool

    @property
    def group(self) -> Group:
        if self.trouble is Trouble.CLIENT:
            return self.trouble, self.config
        if self.trouble is Trouble.FAILING:
            return self.trouble, self.config, self.cause
        return self.trouble, self.id


def grouped(now: datetime) -> dict[Group, list[FailedToken]]:
    """Return the signed-in tokens of valid configurations that have failed or expired, in one query."""
    groups: dict[Group, list[FailedToken]] = {}
    for row_id, config, trouble, cause, is_usable in tuples(_query(now)):
        one = FailedToken(row_id, config, Trouble(trouble), cause, bool(is_usable))
        groups.setdefault(one.group, []).append(one)
    return groups


def _query(now: datetime) -> Any:
    refused, client = Token.refused_at.is_null(False), TokenConfig.credentials_refused_at.is_null(False)
    expired = Token.expires_at <= now
    trouble = Case(None, [
        (client, Trouble.CLIENT), (refused, Trouble.REFUSED), (Token.failing_since.is_null(), Trouble.EXPIRED),
        (Token.first_refused_at.is_null(False), Trouble.DOUBTED),
    ], Trouble.FAILING)  # fmt: skip
    is_usable = Case(None, [(client | refused | Token.obtained_at.is_null() | expired, 0)], 1)
    failed = refused | client | expired | (Token.refresh_token_expires_at <= now) | Token.failing_since.is_null(False)
    query = Token.select(Token.id, Token.token_config, trouble.alias("trouble"), Token.failure_cause, is_usable)
    rows = query.join(TokenConfig).where(_is_in_use(), TokenConfig.validity == Validity.VALID, failed)
    return rows.order_by(SQL("trouble"), TokenConfig.name, Token.expires_at.asc(nulls="last"), Token.id)


def _is_in_use() -> Any:
    """Return the query condition: the token is signed in, or its flow needs no sign-in."""
    return Token.signed_in_at.is_null(False) | (TokenConfig.flow != Flow.AUTHORIZATION_CODE)


def first_of(groups: list[list[FailedToken]]) -> dict[int, Token]:
    """Return the first token of each group with its configuration, by id."""
    ids = [group[0].id for group in groups]
    query = Token.select(Token, TokenConfig).join(TokenConfig)
    slices = [ids[start : start + _SLICE] for start in range(0, len(ids), _SLICE)] or [[]]
    return {row.id: row for some in slices for row in query.where(Token.id.in_(some))}


def times(groups: dict[Group, list[FailedToken]]) -> dict[Group, tuple[datetime, datetime]]:
    """Return the first and the last failure of each group whose provider issues no tokens."""
    if not any(group[0] is Trouble.FAILING for group in groups):
        return {}
    columns = Token.token_config, Token.failure_cause
    failing = Token.failing_since.is_null(False) & Token.refused_at.is_null() & Token.first_refused_at.is_null()
    query = Token.select(*columns, fn.MIN(Token.failing_since), fn.MAX(Token.failed_at)).where(failing)
    return {
        (Trouble.FAILING, config, cause): (since, last)
        for config, cause, since, last in tuples(query.group_by(*columns))
    }
