"""Fixtures for the fault tests."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from portal.protocols import tls
from tests.fakes.pages import PageClient
from tests.faults.stage import Stage, now
from tests.support.commands import Run


@pytest.fixture
def stage(alice: PageClient, at_work: None, run: Run, tmp_path: Path, certificate_folder: Path) -> Stage:
    tls.trust(certificate_folder / "ca.pem")
    return Stage(run, alice, now(), tmp_path, certificate_folder)


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened
