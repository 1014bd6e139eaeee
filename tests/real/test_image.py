"""The container image: not root, a read-only root, and mail that is fetched from it."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.environment import messages
from tests.servers.image import IMAGE, Image
from tests.servers.needs import need
from tests.servers.portal_process import wait_for
from tests.servers.ports import free_port, new_folder

pytestmark = pytest.mark.real
USER, CONTAINER, UID = "image@x.test", "portal", 10001


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    need("podman")
    made = Image.build(new_folder())
    yield made
    made.remove()


@pytest.fixture
def dovecot(certificate_folder: Path) -> Iterator[Dovecot]:
    need("dovecot")
    server = Dovecot.start(new_folder(), certificate_folder, provider_port=1)
    yield server
    server.stop()
    shutil.rmtree(server.folder)


def test_container_fetches_mail_without_root_and_without_writing_to_its_root(
    image: Image, dovecot: Dovecot, certificate_folder: Path
) -> None:
    folder, port = new_folder(), free_port()
    for name in ("data", "keys", "files"):
        (folder / name).mkdir(mode=0o700)
        shutil.chown(folder / name, UID, UID)
    (folder / "files" / "portal.yml").write_text(yaml.safe_dump(configuration(dovecot)))
    shutil.copy(certificate_folder / "ca.pem", folder / "files")
    options = [
        "-e",
        "PORTAL_CA_FILE=/files/ca.pem",
        "-e",
        f"PORTAL_BIND=127.0.0.1:{port}",
        "-e",
        f"MAIL={MAIL_PASSWORD}",
    ]
    options += [f"-v={folder / name}:/{name}" for name in ("data", "keys", "files")]
    dovecot.receives(USER, messages(1))
    image.run("--rm", *options, command=("upgrade",))
    image.run("--rm", *options, command=("apply", "/files/portal.yml"))
    began = time.monotonic()
    image.run("--detach", "--name", CONTAINER, *options, "-e", "PORTAL_LOG_FORMAT=json")
    try:
        inbox = folder / "data" / "inbox" / "new"
        wait_for(lambda: inbox.is_dir() and list(inbox.iterdir()), 60, lambda: image.podman("logs", CONTAINER))
        print(f"image of {image.megabytes} MB; first mail {time.monotonic() - began:.1f} s after the start")
        wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok, 30)
        assert image.podman("exec", CONTAINER, "id", "-u") == str(UID)
        assert image.podman("exec", CONTAINER, "sh", "-c", "touch /opt/x 2>&1 || true").endswith(
            "Read-only file system"
        )
        (inspected,) = json.loads(image.podman("image", "inspect", IMAGE))
        _, *health_check = inspected["Healthcheck"]["Test"]
        assert "readyz" in str(health_check)
        image.podman("exec", CONTAINER, *health_check)
    finally:
        image.podman("rm", "--force", "--time", "10", CONTAINER)
        shutil.rmtree(folder)


def configuration(dovecot: Dovecot) -> dict[str, object]:
    account = {"name": "Help desk", "type": "IMAPS", "host": "localhost", "port": dovecot.port, "login": USER,
               "password": "env:MAIL", "destination": "Inbox", "after_fetch": "delete"}  # fmt: skip
    return {
        "destinations": [{"name": "Inbox", "type": "maildir", "path": "/data/inbox"}],
        "mail_accounts": [account],
    }
