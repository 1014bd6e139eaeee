"""Form values for the pages of token configurations."""

from portal.models import Token
from tests.builders import make_config
from tests.fakes.provider import FakeProvider

NEW_SECRET = "entered-secret-Zz81kkQw0PL"
FORM = {
    "name": "Help desk",
    "client_id": "client-1111",
    "client_secret": NEW_SECRET,
    "authorize_url": "https://p.test/authorize",
    "token_url": "https://p.test/token",
    "refresh_url": "https://p.test/token",
    "scope": "mail",
    "notify_expired_refresh_token": "y",
    "validity": "valid",
}


def waiting(provider: FakeProvider) -> Token:
    config = make_config("Help desk", base=provider.url, userinfo_url=f"{provider.url}/userinfo")
    provider.says({"email": "helpdesk@example.test"}, path="/userinfo")
    return Token.get(Token.token_config == config.id)


CALLBACK = "/get-oauth2-token-by-authorization-code"
