"""An operator of Sales must not act on the mailboxes of others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from portal.access import operator_limits
from portal.models import Event, Token, User
from tests.builders import (
    ADMIN,
    NOW,
    OPERATOR,
    make_account,
    make_call,
    make_config,
    make_destination,
    make_message,
    make_notice,
    make_profile,
    make_service,
    make_token,
)
from tests.fakes.pages import PageClient
from tests.support.commands import Run
from tests.support.endpoints import rules
from tests.views.test_access import OPERATOR_ACTS

Visit = Callable[[str | None], PageClient]


@pytest.fixture
def sales(bob: PageClient) -> Token:
    """A token of the configuration to which Bob is limited."""
    token = make_token(make_config("Sales"))
    operator_limits.limit(User.get(User.name == OPERATOR), [token.token_config], actor=ADMIN, now=NOW)
    return token


def test_limited_operator_makes_no_change_elsewhere(app: Flask, sales: Token, bob: PageClient, tmp_path: Path) -> None:
    """Every change of an operator, at rows of another configuration and at rows without any."""
    # A limit does not end with its configuration.
    Token.delete().where(Token.id == sales.id).execute()
    sales.token_config.delete_instance()
    token = make_token(make_config("Support"))
    make_account(make_destination(tmp_path), token)
    make_message(make_profile(token))
    make_call(make_service())
    make_notice()
    csrf = bob.token()
    tried = set()
    for endpoint, path in rules(app, "POST"):
        if endpoint in OPERATOR_ACTS:
            tried.add(endpoint)
            assert bob.client.post(path, data={"csrf_token": csrf}).status_code == 403, endpoint
    assert tried == OPERATOR_ACTS
    assert Event.select().where(Event.action == "user:not-allowed").count() == len(tried)


def test_limited_operator_acts_on_the_own_configuration(sales: Token, bob: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), sales)
    other = make_account(make_destination(tmp_path / "b", "B"), make_token(make_config("Support")), name="Other")
    assert bob.post(f"/mail-accounts/{account.id}/pause").status_code == 303
    assert bob.client.post(f"/mail-accounts/{other.id}/pause", data={"csrf_token": bob.token()}).status_code == 403
    paused = [event.subject_id for event in Event.select().where(Event.action == "mail-account:paused")]
    assert paused == [account.id]
    assert bob.get("/mail-accounts").text.count("Other") > 0, "states are visible"
    notice = make_notice(about_kind="mail account", about_id=account.id)
    assert bob.post(f"/notices/{notice.id}/acknowledge").status_code == 303


def test_admin_chooses_the_configurations(sales: Token, alice: PageClient) -> None:
    support = make_config("Support")
    bob = User.get(User.name == OPERATOR)
    path = f"/users/{bob.id}/configurations"
    assert "of Sales" in alice.get("/users").text
    assert "selected" in alice.get(path).html
    alice.post(path, {"configs": [str(support.id), str(sales.token_config.id)]})
    assert "of Sales, Support" in alice.get("/users").text
    alice.post(path, {})
    assert operator_limits.configs_of(bob) == []
    assert (
        "all configurations"
        in Event.select().where(Event.action == "user:limited").order_by(Event.id.desc()).get().details
    )


def test_command_limits_an_operator(sales: Token, run: Run) -> None:
    run("user", "limit", OPERATOR)
    assert not operator_limits.is_limited(User.get(User.name == OPERATOR))
    run("user", "limit", OPERATOR, "--config", "Sales")
    assert operator_limits.is_limited(User.get(User.name == OPERATOR))
