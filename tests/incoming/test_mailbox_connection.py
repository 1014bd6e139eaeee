"""Access tokens that a mail server rejects: one refresh per failure, not one per attempt."""

import pytest

from portal.models import Destination, RunLine, RunOutcome
from tests.builders import NOW, make_account, make_config, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.fetching import MINUTE, TEN, finished

pytestmark = pytest.mark.usefixtures("db")


def test_rejected_access_token_is_refreshed_and_retried(
    mail_server: FakeMailServer, inbox: Destination, provider: FakeProvider
) -> None:
    mail_server.accepts(NEW_ACCESS_TOKEN)
    mail_server.receives(*TEN)
    account = make_account(inbox, make_token(make_config(base=provider.url)), port=mail_server.port)
    run = finished(account, NOW + MINUTE)
    assert (run.outcome, run.delivered) == (RunOutcome.DONE, 10)
    assert len(provider.requests) == 1
    (line,) = RunLine.select().where(RunLine.level == "warning")
    assert "Trying again with a new token" in line.text


def test_mailbox_that_rejects_every_token_causes_one_refresh(
    mail_server: FakeMailServer, inbox: Destination, provider: FakeProvider
) -> None:
    account = make_account(inbox, make_token(make_config(base=provider.url)), port=mail_server.port)
    for minute in range(1, 6):
        assert finished(account, NOW + minute * MINUTE).outcome is RunOutcome.FAILED
    assert len(provider.requests) == 1
