"""Lookup of a valid access token for an API key, in one database query and without a refresh."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from portal.access import api_keys
from portal.core import keys
from portal.core.db import database
from portal.core.encryption import Place, Sealed, Secret
from portal.models import ApiKey, ApiKeyConfig, Token, TokenConfig, Validity

#: Placeholders of the two parameters in the cached query.
_KEY, _NAME = "<key>", "<name>"
_COLUMNS = (
    ApiKey.id,
    ApiKey.networks,
    ApiKey.ends_at,
    Token.id,
    Token.owner,
    Token.access_token,
    Token.expires_at,
)


@dataclass(frozen=True)
class IssuedToken:
    """An access token for an API key. ``expires_at`` None: expiry unknown."""

    key_id: int
    token_id: int
    owner: str | None
    access_token: Secret
    expires_at: datetime | None


def find_valid(key: str, address: str, reference: str, min_life: timedelta, *, now: datetime) -> IssuedToken | None:
    """The access token of this name, if valid for ``min_life``. None: the full check is needed and gives the reason."""
    sql, places = _query(database.obj.param)
    given = {_KEY: api_keys.hashed(key), _NAME: reference}
    found = database.execute_sql(sql, [given.get(place, place) for place in places]).fetchall()
    if len(found) != 1:
        return None
    key_id, networks, ends_at, token_id, owner, sealed, expires_at = found[0]
    end, key_end = (Token.expires_at.python_value(moment) for moment in (expires_at, ends_at))  # type: ignore[no-untyped-call]
    if (key_end and key_end <= now) or (end and end <= now + min_life) or not api_keys.is_within(address, networks):
        return None
    access_token = keys.current().open(Sealed(sealed), Place("token", token_id, "access_token"))
    return IssuedToken(key_id, token_id, owner, access_token, end)


@cache
def _query(mark: str) -> tuple[str, list[str]]:
    """The query and its parameters, with the placeholders ``_KEY`` and ``_NAME``.

    Cached, because building the query takes longer than running it. ``mark``: the database's parameter marker.
    """
    full_name = TokenConfig.name.concat("/").concat(Token.owner)
    query = (
        Token.select(*_COLUMNS)
        .join(TokenConfig)
        .join(ApiKeyConfig)
        .join(ApiKey)
        .where(ApiKey.key_hash == _KEY, (TokenConfig.name == _NAME) | (full_name == _NAME))
        .where(Token.access_token.is_null(False), Token.obtained_at.is_null(False), Token.refused_at.is_null())
        .where(TokenConfig.credentials_refused_at.is_null(), TokenConfig.validity == Validity.VALID)
    )
    return query.sql()
