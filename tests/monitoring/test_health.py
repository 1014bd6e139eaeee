"""Monitoring interfaces: health report as JSON, metrics without names, and the check command as a plugin."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator

from portal.access import api_keys
from portal.models import MailAccount, MetricCounter, Notice, Token, TokenConfig
from portal.monitoring import notices
from portal.system import leader_election
from portal.web import openapi
from tests.builders import make_account, make_config, make_destination, make_token
from tests.fakes.pages import PageClient
from tests.support.commands import Run


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def client(app: Flask, at_work: None) -> FlaskClient:
    """A client of a portal whose clock and workers have current heartbeats."""
    leader_election.hold_leadership("clock", "test", now())
    return app.test_client()


@pytest.fixture
def ask(client: FlaskClient) -> Callable[[], dict[str, Any]]:
    _, key = api_keys.add(api_keys.Fields("Icinga", may_read_health=True), actor="test", now=now())
    schema = openapi.document()["components"]["schemas"]["Health"]

    def asked() -> dict[str, Any]:
        response = client.get("/api/v1/health", headers={"Authorization": f"Bearer {key.reveal()}"})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.get_json()
        Draft202012Validator(schema, validate_formats=True).validate(found)
        return found

    return asked


def broken(tmp_path: Path) -> Token:
    token = make_token(make_config("Microsoft"), signed_in_at=now())
    account = make_account(make_destination(tmp_path), token, name="Help desk")
    MailAccount.update(fetched_at=now(), due_at=now()).where(MailAccount.id == account.id).execute()
    words = "invalid_client (AADSTS7000222): The provided client secret keys are expired."
    TokenConfig.update(credentials_refused_at=now(), credentials_answer=words).execute()
    return token


def test_health_is_good_without_problems(ask: Callable[[], dict[str, Any]]) -> None:
    found = ask()
    assert (found["status"], found["problems"]) == ("good", [])


def test_health_reports_each_problem_with_its_cause(ask: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    broken(tmp_path)
    found = ask()
    assert found["status"] == "broken"
    (problem,) = found["problems"]
    assert (problem["level"], problem["cause"]) == ("broken", "client-secret-expired")
    assert problem["standing_still"] == ["Help desk"]
    assert "Value" in problem["remedy"][0]
    assert found["tokens"] == {"good": 0, "troubled": 0, "broken": 1}


def test_health_ignores_acknowledged_problems(ask: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    broken(tmp_path)
    notices.update(now())
    notices.acknowledge(Notice.get(), now() + timedelta(hours=1), "", actor="Ada", now=now())
    found = ask()
    assert found["status"] == "good"
    assert found["problems"][0]["known_until"]


def test_health_requires_a_key_with_permission(client: FlaskClient) -> None:
    assert client.get("/api/v1/health").status_code == 401
    _, key = api_keys.add(api_keys.Fields("Cron", may_send=True), actor="test", now=now())
    answer = client.get("/api/v1/health", headers={"Authorization": f"Bearer {key.reveal()}"})
    assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")


def test_metrics_contain_counts_and_no_names(client: FlaskClient, tmp_path: Path) -> None:
    token = broken(tmp_path)
    MetricCounter.add("refresh", "renewed", 3, 1.5)
    MetricCounter.add("refresh", "renewed", 2, 0.5)
    text = client.get("/metrics").text
    assert 'portal_token_refreshes_total{outcome="renewed"} 5.0' in text
    assert "portal_token_refresh_seconds_sum 2.0" in text
    assert 'portal_tokens{state="broken"} 1.0' in text
    assert 'portal_workers{queue="out"} 1.0' in text
    for name in ("Help desk", "Microsoft", token.owner or "-"):
        assert name not in text


def test_check_output_follows_nagios(run: Run, at_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leader_election.hold_leadership("clock", "test", now())
    first = run("check").stdout.splitlines()[0]
    assert re.fullmatch(r"PORTAL OK - 0 tokens valid, 0 mail accounts fetched \| (\w+=\d+ ?)+", first)
    monkeypatch.setenv("PORTAL_TRUSTED_PROXIES", "1")
    assert run("check", code=1).stdout.startswith("PORTAL WARNING - PORTAL_TRUSTED_PROXIES exposes the portal | ")
    monkeypatch.delenv("PORTAL_TRUSTED_PROXIES")
    broken(tmp_path)
    lines = run("check", code=2).stdout.splitlines()
    assert lines[0].startswith("PORTAL CRITICAL - The provider rejects the client ID or secret of “Microsoft” | ")
    assert "tokens_broken=1" in lines[0]
    assert any("Affected: Help desk." in line for line in lines[1:])
    TokenConfig.update(credentials_refused_at=None).execute()
    Token.update(failing_since=now() - timedelta(hours=1), failure="x did not answer in time.").execute()
    assert run("check", code=1).stdout.startswith("PORTAL WARNING - ")
    assert not any("|" in line for line in run("check", code=1).stdout.splitlines()[1:])


def test_check_and_home_name_a_failure_that_is_too_recent_for_a_notice(
    run: Run, at_work: None, tmp_path: Path, alice: PageClient
) -> None:
    leader_election.hold_leadership("clock", "test", now())
    broken(tmp_path)
    TokenConfig.update(credentials_refused_at=None).execute()
    Token.update(failing_since=now(), failed_at=now(), failure="x did not answer in time.", tries=1).execute()
    assert "retrying after a failure: 1 token" in run("check").stdout.splitlines()[0]
    text = alice.get("/").text
    assert "Retrying after a failure: 1 token" in text
    assert "All tokens are valid" not in text


def test_cli_lists_and_acknowledges_notices(run: Run, at_work: None, tmp_path: Path) -> None:
    broken(tmp_path)
    notices.update(now())
    (row,) = json.loads(run("notice", "list", "--json").stdout)
    assert (row["cause"], row["standing_still"], row["known_until"]) == ("client-secret-expired", "Help desk", None)
    run("notice", "acknowledge", str(row["id"]), "--hours", "2", "--comment", "on it")
    assert Notice.get().acknowledged_comment == "on it"
    assert "There is no notice with this ID" in run("notice", "acknowledge", "99", code=1).stderr
    TokenConfig.update(credentials_refused_at=None).execute()
    Notice.update(closed_at=now()).execute()
    assert json.loads(run("notice", "list", "--over", "--json").stdout)[0]["level"] == "broken"
    assert "already resolved" in run("notice", "acknowledge", str(row["id"]), code=1).stderr
