"""Constant parameters of the authorization and token requests of a configuration."""

from urllib.parse import parse_qs, urlsplit

import pytest

from portal import providers
from portal.models import TokenConfig
from portal.tokens import config_fields, constant_parameters, import_export
from portal.tokens.sign_in import authorization_code
from tests.builders import NOW, make_config, make_token
from tests.fakes.pages import PageClient
from tests.fakes.provider import FakeProvider
from tests.support.exporting import exported
from tests.support.refreshing import refresh, token_at
from tests.support.znuny import plan

pytestmark = pytest.mark.usefixtures("db")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("prompt=consent&hd=x.test", ""),
        ("prompt", "Enter name=value"),
        ("state=1", "The portal sets state itself"),
        ("a=1&client_secret=x", "The portal sets client_secret itself"),
    ],
)
def test_parameters_that_cannot_be_used_are_a_field_error(text: str, words: str) -> None:
    assert words in constant_parameters.problem(text)
    assert bool(constant_parameters.problem(text)) is bool(words)


def test_new_configuration_takes_the_parameters_of_its_template() -> None:
    fields = config_fields.from_template(providers.find("google"), name="G", client_id="c")
    assert fields.authorize_parameters == "access_type=offline&prompt=consent"


def test_parameters_are_sent_with_the_authorization_request_and_shown_in_its_preview(alice: PageClient) -> None:
    token = make_token(make_config())
    TokenConfig.update(authorize_parameters="prompt=login&hd=x.test").execute()
    config = TokenConfig.get()
    token.token_config = config
    for url in (authorization_code.begin(token, by="Alice", browser=None, now=NOW), authorization_code.preview(config)):
        query = parse_qs(urlsplit(url).query)
        assert (query["prompt"], query["hd"], query["client_id"]) == (["login"], ["x.test"], [config.client_id])
    assert "hd=x.test" in alice.get(f"/tokens/{config.id}").text


def test_parameters_are_sent_with_the_token_request(provider: FakeProvider) -> None:
    token = token_at(provider)
    TokenConfig.update(token_parameters="resource=https%3A%2F%2Fmail.x.test").execute()
    refresh(token)
    assert provider.requests[0]["resource"] == "https://mail.x.test"


def test_parameters_survive_export_and_import() -> None:
    make_config("Mail")
    TokenConfig.update(authorize_parameters="prompt=login", token_parameters="resource=x").execute()
    text = exported(secrets=True)
    TokenConfig.delete().execute()
    import_export.apply(plan(text.encode()), actor="Alice", now=NOW)
    assert (TokenConfig.get().authorize_parameters, TokenConfig.get().token_parameters) == (
        "prompt=login",
        "resource=x",
    )
