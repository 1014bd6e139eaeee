"""A worker that is killed in mid-fetch, again and again: nothing lost, nothing twice."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.conftest import need
from tests.real.portal_process import wait_for
from tests.real.world import USER, World, browser_page, chromium, messages, sign_in_to_portal, sign_mailbox_in, world

pytestmark = pytest.mark.real
KILLS, PER_KILL = 20, 120


@pytest.fixture(scope="module")
def stage(certificate_folder: Path) -> Iterator[World]:
    need("node", "oidc-provider", "dovecot", "chromium")
    with world(certificate_folder, {}) as made:
        yield made


def test_twenty_kills_in_mid_fetch_lose_nothing_and_double_nothing(stage: World) -> None:
    with chromium() as browser:
        page = browser_page(browser)
        sign_in_to_portal(page, stage.portal.url)
        sign_mailbox_in(page, stage.portal.url)
    sent: list[bytes] = []
    kills = 0
    dice = random.Random(20)
    while kills < KILLS:
        batch = messages(PER_KILL, f"kill-{len(sent)}-")
        sent += batch
        before = len(stage.delivered())
        stage.dovecot.receives(USER, batch)
        # A killed worker leaves its job marked as started; Redis's housekeeping takes up to two minutes to see that.
        wait_for(lambda before=before: len(stage.delivered()) > before, 150, stage.told, step=0.005)  # type: ignore[misc]
        time.sleep(dice.uniform(0, 0.15))
        kills += kill_one(stage, with_its_worker=kills % 7 == 6)
    wait_for(lambda: len(stage.delivered()) >= len(sent), 120, stage.told)
    wait_for(lambda: stage.dovecot.left(USER) == 0, 60, stage.told)
    delivered = Counter(stage.delivered())
    lost, doubled = set(sent) - delivered.keys(), {one for one, times in delivered.items() if times > 1}
    print(f"{kills} kills in mid-fetch; {len(sent)} sent, {len(lost)} lost, {len(doubled)} twice")
    assert (len(lost), len(doubled)) == (0, 0)


def kill_one(stage: World, *, with_its_worker: bool) -> bool:
    """SIGKILL to the process that fetches, or to the worker that watches it; whether there was one."""
    horses = stage.portal.horses()
    for horse in horses:
        parent = (
            int(Path(f"/proc/{horse}/stat").read_text().rpartition(")")[2].split()[1]) if with_its_worker else horse
        )
        os.kill(parent, signal.SIGKILL)
    return bool(horses)
