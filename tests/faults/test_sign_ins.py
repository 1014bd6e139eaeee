"""Causes reported for failed sign-ins."""

from urllib.parse import parse_qs, urlsplit

import pytest

from portal import causes
from portal.tokens import token_configs
from portal.tokens.sign_in import authorization_code
from tests.builders import make_config
from tests.fakes.provider import FakeProvider
from tests.faults.making import say
from tests.faults.provider_words import EXCHANGE, SIGN_IN, Said
from tests.faults.stage import Stage, now


@pytest.mark.parametrize("said", SIGN_IN, ids=lambda said: f"{said.error} {said.number}")
def test_failed_sign_in_shows_cause_and_remedy(stage: Stage, provider: FakeProvider, said: Said) -> None:
    words = f"AADSTS{said.number}: {said.words}" if said.number else said.words
    _sign_in_fails(stage, provider, said, {"error": said.error, "error_description": words})


@pytest.mark.parametrize("said", EXCHANGE, ids=lambda said: f"{said.number}")
def test_rejected_authorization_code_shows_cause_and_remedy(stage: Stage, provider: FakeProvider, said: Said) -> None:
    say(provider, said)
    _sign_in_fails(stage, provider, said, {"code": "the-code"})


def _sign_in_fails(stage: Stage, provider: FakeProvider, said: Said, answer: dict[str, str]) -> None:
    config = make_config("Microsoft", base=provider.url)
    expected = causes.named(said.cause)
    token = token_configs.tokens_of(config)[0]
    leaving = stage.alice.client.post(
        f"/tokens/token/{token.id}/request", data={"csrf_token": stage.alice.token()}, follow_redirects=False
    ).text
    state = leaving.split("state=")[1].split('"')[0].split("&")[0]
    page = stage.alice.get(
        "/get-oauth2-token-by-authorization-code", query_string={**answer, "state": state}, follow_redirects=True
    )
    assert expected.title in page.text
    assert expected.remedy[0].partition("{")[0].strip() in page.text
    begun = parse_qs(urlsplit(authorization_code.begin(token, by="test", browser=None, now=now())).query)["state"][0]
    query = "&".join(f"{name}={value}" for name, value in {**answer, "state": begun}.items())
    result = stage.run("token", "authorize", "Microsoft", stdin=f"http://127.0.0.1:8000/x?{query}\n", code=1)
    assert expected.title in result.stderr
