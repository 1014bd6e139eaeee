"""Tokens after a restore: an old refresh token is not used where that would end the sign-in."""

from datetime import timedelta

import pytest

from portal.core.encryption import Secret
from portal.models import Token, TokenConfig
from portal.monitoring.problems import tokens as problems
from portal.tokens import restored
from tests.builders import NOW, fresh, make_config, make_token

pytestmark = pytest.mark.usefixtures("db")


def rotated(template: str) -> Token:
    token = make_token(make_config())
    TokenConfig.update(template=template).execute()
    token.previous_refresh_token = Secret("the one before")
    token.save()
    return token


def test_token_of_a_provider_that_ends_reused_families_is_held_back() -> None:
    token = rotated("generic")
    assert [row.id for row in restored.hold_back("2026-11-29 03:00 UTC", now=NOW)] == [token.id]
    row = fresh(token)
    assert (row.refused_at, row.due_at) == (NOW, None)
    assert "restored from a backup of 2026-11-29 03:00 UTC" in (row.failure or "")


def test_notice_names_the_restore_and_both_ways_on() -> None:
    rotated("generic")
    restored.hold_back("2026-11-29 03:00 UTC", now=NOW)
    found = problems.of_tokens(NOW + timedelta(minutes=1), None).problems
    assert [one.cause.name for one in found] == ["restored-token-held"]
    assert len(found[0].cause.remedy) == 2


@pytest.mark.parametrize("template", ["google", "microsoft-common"])
def test_token_of_google_or_microsoft_is_not_held_back(template: str) -> None:
    rotated(template)
    assert restored.hold_back("2026-11-29 03:00 UTC", now=NOW) == []
