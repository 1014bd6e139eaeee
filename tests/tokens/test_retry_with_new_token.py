"""A token that a server rejects is renewed once per outage, and again when its unknown life may have ended."""

from datetime import datetime, timedelta

import pytest

from portal.core.encryption import Secret
from portal.core.errors import Refused
from portal.models import Token
from portal.tokens import retry_with_new_token
from tests.builders import NOW, fresh
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.refreshing import token_at

pytestmark = pytest.mark.usefixtures("db")
HOUR = timedelta(hours=1)


def attempt(token: Token, now: datetime, *, since: datetime | None) -> list[str]:
    """The access tokens that a server was asked with; it rejects all."""
    shown: list[str] = []

    def sign_in(usable: Token) -> None:
        assert usable.access_token
        shown.append(usable.access_token.reveal())
        raise Refused("AUTHENTICATE failed.")

    with pytest.raises(Refused):
        retry_with_new_token.with_retry(
            fresh(token), sign_in, min_life=timedelta(0), failing_since=since, clock=lambda: now
        )
    return shown


def test_rejected_token_is_renewed_once_per_outage(provider: FakeProvider) -> None:
    token = token_at(provider)
    later = NOW + HOUR / 2
    assert len(attempt(token, later, since=None)) == 2
    assert len(attempt(token, later + timedelta(minutes=5), since=later)) == 1
    assert len(provider.requests) == 1


def test_token_of_unknown_life_is_renewed_again_after_an_hour(provider: FakeProvider) -> None:
    provider.grants(expires_in=None)
    token = token_at(provider)
    began = NOW + HOUR / 2
    assert len(attempt(token, began, since=None)) == 2
    assert len(attempt(token, began + timedelta(minutes=30), since=began)) == 1
    assert attempt(token, began + HOUR, since=began) == [NEW_ACCESS_TOKEN] * 2
    assert len(provider.requests) == 2
    assert fresh(token).access_token == Secret(NEW_ACCESS_TOKEN)
