"""Fixtures for tests on real servers: a missing program skips the test; with CI set, it fails the test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.sandbox import certificates
from tests.servers.needs import need
from tests.servers.ports import new_folder
from tests.servers.postgresql import Cluster


@pytest.fixture(scope="session")
def certificate_folder() -> Iterator[Path]:
    made = new_folder()
    certificates.make(made)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield {}
        return
    need("postgresql")
    cluster = Cluster.start()
    yield {"DATABASE_URL": cluster.url}
    cluster.stop()
