"""Fixtures: a new database for each test, keys, fake servers; connections to other hosts are blocked."""

import gc
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result
from flask import Flask

from portal import create_app
from portal.access import passwords
from portal.cli import portal
from portal.core import keys, log
from portal.core.config import Config, from_environment
from portal.core.db import connected, database, open_database
from portal.core.keys import KeyFile
from portal.models import Destination, Role
from portal.protocols import tls
from portal.runtime import startup
from portal.sandbox import certificates
from portal.system import disks, job_queue
from tests.builders import ADMIN, NOW, OPERATOR, SECRETS, VIEWER, make_destination, make_user
from tests.fakes.graph_server import GraphServer
from tests.fakes.mail_server import FakeMailServer
from tests.fakes.pages import PageClient
from tests.fakes.provider import FakeProvider
from tests.fakes.smtp_server import FakeSmtpServer
from tests.fakes.web_server import FakeWebServer
from tests.servers.postgresql import Cluster
from tests.support import scheduling
from tests.support.commands import Run
from tests.support.database import Queries, unbind

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=["sqlite", "postgresql"], default="sqlite", help="What the tests store into."
    )


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """A datagram to another host fails as well; pytest-socket guards connections only."""
    send = socket.socket.sendto

    def guarded(self: socket.socket, data: Any, *rest: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6) and rest[-1][0] not in LOOPBACK:
            raise AssertionError(f"a test tried to send a datagram to {rest[-1]}")
        return send(self, data, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "sendto", guarded)
        yield


@pytest.fixture(autouse=True, scope="session")
def quick_passwords() -> None:
    """Use fast, insecure password hashing: a thousand sign-ins in the tests would otherwise take minutes."""
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords._DUMMY_HASH = passwords._hasher.hash("unknown user")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Config]:
    """Create a data folder with keys and an upgraded, empty database, once per test run."""
    folder = tmp_path_factory.mktemp("prepared")
    environment = {"PORTAL_DATA": str(folder)}
    cluster = None
    if request.config.getoption("--database") == "postgresql":
        cluster = Cluster.start()
        environment["DATABASE_URL"] = cluster.url
    config = from_environment(environment)
    startup.upgrade(config, now=NOW)
    unbind()
    yield config
    if cluster:
        cluster.stop()


@pytest.fixture
def config(prepared: Config, tmp_path: Path) -> Config:
    """Return the process settings of a test with its own database."""
    if prepared.database_url.startswith("sqlite"):
        path = tmp_path / "portal.db"
        shutil.copy(prepared.data_dir / "portal.db", path)
        prepared = replace(prepared, database_url=f"sqlite:///{path}")
    return replace(prepared, data_dir=tmp_path)


@pytest.fixture
def db(config: Config) -> Iterator[None]:
    keys.use(KeyFile.of(config))
    tls.trust(None)
    open_database(config.database_url)
    job_queue._redis = None
    with connected():
        yield
    if config.database_url.startswith("postgresql"):
        _empty()
    unbind()


def _empty() -> None:
    with connected():
        tables = [f'"{name}"' for name in database.get_tables() if name not in ("schema_migration", "setting")]
        database.execute_sql(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")
        database.execute_sql("DELETE FROM setting WHERE name <> 'KeyCanary'")


@pytest.fixture
def queries(db: None) -> Queries:
    def counted(act: Callable[[], object]) -> int:
        seen: list[object] = []
        database.obj.query_hooks.append(seen.append)
        act()
        database.obj.query_hooks.remove(seen.append)
        return len(seen)

    return counted


@pytest.fixture
def at_work(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis answers, workers are running and disks have free space: no problem of the host."""
    monkeypatch.setattr(
        job_queue, "workers", lambda now: {job_queue.TOKENS: ["a"], job_queue.MAIL: ["b"], job_queue.OUT: ["c"]}
    )
    monkeypatch.setattr(disks, "of", lambda folders: [])


@pytest.fixture
def people(db: None) -> None:
    """Create Alice (admin), Bob (operator) and Charlie (viewer)."""
    for name, role in ((ADMIN, Role.ADMIN), (OPERATOR, Role.OPERATOR), (VIEWER, Role.VIEWER)):
        make_user(name, role)


@pytest.fixture(scope="session")
def application(prepared: Config) -> Flask:
    """One application for all tests: its routes and templates are compiled once."""
    app = create_app(prepared)
    app.testing = True
    unbind()
    return app


@pytest.fixture
def app(application: Flask, config: Config, db: None) -> Flask:
    """The application as a process with the settings of this test would have it."""
    unbind()
    startup.start(config)
    application.config["PORTAL"] = config
    database.connect()
    return application


@pytest.fixture
def visit(app: Flask) -> Callable[[str | None], PageClient]:
    """Return a function that opens a browser signed in as the given user."""

    def as_person(name: str | None) -> PageClient:
        client = PageClient(app.test_client())
        if name:
            client.sign_in(name)
        return client

    return as_person


@pytest.fixture
def alice(people: None, visit: Callable[[str | None], PageClient]) -> PageClient:
    return visit(ADMIN)


@pytest.fixture
def bob(people: None, visit: Callable[[str | None], PageClient]) -> PageClient:
    return visit(OPERATOR)


@pytest.fixture
def charlie(people: None, visit: Callable[[str | None], PageClient]) -> PageClient:
    return visit(VIEWER)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    fake = FakeProvider()
    yield fake
    fake.stop()


@pytest.fixture
def web_server() -> Iterator[FakeWebServer]:
    fake = FakeWebServer()
    yield fake
    fake.stop()


@pytest.fixture
def smtp_server() -> Iterator[FakeSmtpServer]:
    fake = FakeSmtpServer().start()
    yield fake
    fake.stop()


@pytest.fixture(scope="session")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder)
    return folder


@pytest.fixture
def mail_server(db: None, tmp_path: Path, certificate_folder: Path) -> Iterator[FakeMailServer]:
    tls.trust(certificate_folder / "ca.pem")
    fake = FakeMailServer(tmp_path, certificate_folder)
    yield fake
    fake.stop()


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Collect no garbage: at the recursion limit, finalizers of earlier tests would fail."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def graph_server(db: None, certificate_folder: Path) -> Iterator[GraphServer]:
    tls.trust(certificate_folder / "ca.pem")
    fake = GraphServer(certificate_folder)
    yield fake
    fake.stop()


@pytest.fixture
def inbox(db: None, tmp_path: Path) -> Destination:
    return make_destination(tmp_path)


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    for name in log.SENSITIVE_AT_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)
    with caplog.at_level(logging.DEBUG):
        yield
    for record in caplog.get_records("call"):
        line = record.getMessage()
        assert not any(secret in line for secret in SECRETS), f"a secret in a log line of {record.name}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The real tests run last, the longest first. On PostgreSQL only the tests run that use a database."""
    items.sort(key=scheduling.rank)
    if config.getoption("--database") == "postgresql":
        items[:] = [item for item in items if "prepared" in getattr(item, "fixturenames", ())]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.ByServers | None:
    return scheduling.ByServers(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_configure() -> None:
    for name in ("PORTAL_DATA", "DATABASE_URL", "REDIS_URL", "PORTAL_CA_FILE"):
        os.environ.pop(name, None)


@pytest.fixture
def run(db: None, config: Config, certificate_folder: Path) -> Run:
    environment = {
        "PORTAL_DATA": str(config.data_dir),
        "PORTAL_KEYS_FILE": os.environ.get("PORTAL_KEYS_FILE", str(config.keys_file)),
        "DATABASE_URL": config.database_url,
        "PORTAL_CA_FILE": str(certificate_folder / "ca.pem"),
    }

    def invoke(*arguments: str, stdin: str = "", code: int = 0) -> Result:
        unbind()
        result = CliRunner().invoke(portal, arguments, input=stdin, env=environment, catch_exceptions=False)
        connected().__enter__()
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        if arguments[:2] != ("token", "get"):
            for secret in SECRETS:
                assert secret not in result.output
        return result

    return invoke
