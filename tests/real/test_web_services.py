"""A web service with an app-only token of oidc-provider: refresh after status 401, retries after status 5xx."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.models import CallState, Flow, ServiceAuth, Token, TokenConfig, WebService, WebServiceCall
from portal.protocols import tls
from portal.tokens import token_configs
from portal.web_services import calls
from tests.builders import make_call, make_config, make_service
from tests.fakes.web_server import FakeWebServer
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, client

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def provider(certificate_folder: Path) -> Iterator[Provider]:
    need("node", "oidc-provider")
    app_only = client("https://x.test/", redirect_uris=[], response_types=[], grant_types=["client_credentials"])
    started = Provider.start(certificate_folder, "", access_token_seconds=3600, clients=[app_only])
    yield started
    started.stop()


@pytest.fixture
def service(provider: Provider, web_server: FakeWebServer, certificate_folder: Path) -> WebService:
    tls.trust(certificate_folder / "ca.pem")
    config = make_config(base=provider.url, secret=CLIENT_SECRET)
    TokenConfig.update(client_id=CLIENT_ID, flow=Flow.CLIENT_CREDENTIALS, scope="").execute()
    token = Token.get_by_id(token_configs.tokens_of(config)[0].id)
    return make_service(url=web_server.url, authentication=ServiceAuth.TOKEN, token=token, body="{{ values.n }}")


def made(call: WebServiceCall, at: datetime) -> WebServiceCall:
    assert calls.call(call.id, lambda: at)
    row: WebServiceCall = WebServiceCall.get_by_id(call.id)
    return row


def bearers(web_server: FakeWebServer) -> list[str]:
    return [asked.headers["Authorization"].removeprefix("Bearer ") for asked in web_server.asked]


def test_token_is_refreshed_once_after_status_401(service: WebService, web_server: FakeWebServer) -> None:
    now = datetime.now(UTC)
    assert made(make_call(service, n=1), now).state is CallState.DONE
    web_server.answers = [(401, "who?")]
    assert made(make_call(service, n=2), now + timedelta(minutes=5)).state is CallState.DONE
    first, refused, renewed = bearers(web_server)
    assert first == refused
    assert renewed != refused
    assert Token.get().obtained_at > now


def test_failed_call_is_retried_with_the_same_idempotency_key(service: WebService, web_server: FakeWebServer) -> None:
    now = datetime.now(UTC)
    web_server.answers = [(500, "oops"), (502, "oops"), (503, "oops")]
    call = make_call(service, n=3)
    tries = [made(call, now)]
    while tries[-1].state is CallState.QUEUED:
        tries.append(made(call, tries[-1].due_at or now))
    assert [row.status for row in tries] == [500, 502, 503, 200]
    assert len({asked.headers["Idempotency-Key"] for asked in web_server.asked}) == 1
    assert {asked.body for asked in web_server.asked} == {b"3"}
    late = made(make_call(service, n=4), now + 2 * HOUR)
    assert late.state is CallState.DONE
    assert bearers(web_server)[-1] != bearers(web_server)[0]
