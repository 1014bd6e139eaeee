"""What a test on real servers needs: installed, or skipped by name; with CI set, a skip is a failure."""

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
