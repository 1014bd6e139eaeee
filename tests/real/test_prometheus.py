"""The metrics, alert rules and dashboard, checked with promtool."""

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from portal.models import MetricCounter
from portal.monitoring import metrics
from tests.builders import NOW, make_token
from tests.servers.needs import need

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db", "at_work")]
ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus-alerts.yml"


def promtool(*arguments: str, stdin: bytes = b"") -> str:
    need("promtool")
    done = subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


def exposed(now: datetime = NOW) -> str:
    make_token()
    for name in ("refresh", "fetch", "message", "send", "call", "notice"):
        MetricCounter.add(name, "done", seconds=1.5)
    return metrics.exposition(now).decode()


def test_alert_rules_are_valid_and_fire_as_expected() -> None:
    assert "14 rules found" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(Path(__file__).parent / "alerts_test.yml"))


def test_metrics_pass_the_promtool_check() -> None:
    promtool("check", "metrics", stdin=exposed().encode())


def test_alert_rules_and_dashboard_use_existing_metrics() -> None:
    there = set(re.findall(r"^# TYPE (\w+)", exposed(), re.M))
    there |= {f"{name}_{part}" for name in there for part in ("sum", "count")}
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    asked = RULES.read_text() + " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    wanted = set(re.findall(r"\bportal_\w+", asked))
    assert wanted
    assert wanted <= there, wanted - there
