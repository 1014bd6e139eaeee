import threading
from datetime import datetime, timedelta

import pytest

from portal.core.db import connected
from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.models import Flow, Token, TokenConfig, Validity
from portal.tokens import access_tokens, refresh
from tests.builders import ACCESS_TOKEN, NOW, make_config, make_token
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.refreshing import token_at

pytestmark = pytest.mark.usefixtures("db")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def usable(token: Token, *, now: datetime = NOW, min_life: timedelta = MINUTE) -> Token:
    return access_tokens.usable_access_token(token.id, min_life=min_life, actor="test", clock=lambda: now)


def test_valid_access_token_is_returned_without_a_request(provider: FakeProvider) -> None:
    assert usable(token_at(provider)).access_token == Secret(ACCESS_TOKEN)
    assert provider.requests == []


def test_access_token_expiring_too_soon_is_refreshed_first(provider: FakeProvider) -> None:
    assert usable(token_at(provider), now=NOW + 40 * MINUTE, min_life=2 * HOUR).access_token == Secret(NEW_ACCESS_TOKEN)


def test_valid_access_token_is_returned_while_provider_is_down(provider: FakeProvider) -> None:
    provider.says(b"", 503)
    token = token_at(provider)
    assert usable(token, now=NOW + 40 * MINUTE, min_life=2 * HOUR).access_token == Secret(ACCESS_TOKEN)
    with pytest.raises(Unavailable):
        usable(token, now=NOW + 2 * HOUR)


def test_unusable_token_is_refused_with_the_reason(provider: FakeProvider) -> None:
    config = make_config(base=provider.url)
    never = Token.create(token_config=config)
    ended = make_token(make_config(base=provider.url), refresh_token=None)
    invalid = make_token(make_config(base=provider.url, validity=Validity.INVALID_TEMPORARILY))
    for token, words in (
        (never, "is not signed in yet"),
        (ended, "has no refresh token"),
        (invalid, "invalid-temporarily"),
    ):
        with pytest.raises(Refused, match=words):
            usable(token, now=NOW + 2 * HOUR)


def test_concurrent_access_token_requests_share_one_refresh(provider: FakeProvider) -> None:
    gate = provider.replies["/token"].gate = threading.Event()
    token = token_at(provider)
    given: list[Secret | None] = []

    def consume() -> None:
        with connected():
            given.append(usable(token, now=NOW + 2 * HOUR).access_token)

    consumers = [threading.Thread(target=consume) for _ in range(8)]
    for consumer in consumers:
        consumer.start()
    provider.arrived.acquire(timeout=10)
    gate.set()
    for consumer in consumers:
        consumer.join(10)
    assert len(provider.requests) == 1
    assert given == [Secret(NEW_ACCESS_TOKEN)] * 8


def test_app_only_token_is_requested_without_a_sign_in(provider: FakeProvider) -> None:
    provider.grants(refresh_token=None)
    config = make_config(base=provider.url)
    TokenConfig.update(flow=Flow.CLIENT_CREDENTIALS).execute()
    token = Token.get(Token.token_config == config.id)
    given = usable(token)
    assert given.access_token == Secret(NEW_ACCESS_TOKEN)
    assert provider.requests[0]["grant_type"] == "client_credentials"
    assert given.due_at is not None
    assert refresh.refresh(token.id, actor="worker", now=NOW + HOUR)
