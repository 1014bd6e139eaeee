"""Causes recognized for responses that the catalog was not written from."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from portal import causes
from portal.causes import Where

RESPONSES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "public_responses.yml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("one", RESPONSES, ids=lambda one: f"{one['where']}: {one['response'][:60]}")
def test_public_response_is_recognized(one: dict[str, Any]) -> None:
    assert causes.recognize(one["response"], Where(one["where"])).name in one["causes"]
