"""Sign-in of users whom the reverse proxy names, on its own socket only."""

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from portal.models import Event, Role, User
from portal.system import settings
from tests.builders import ADMIN, NOW
from tests.fakes.pages import PageClient


@pytest.fixture
def on_socket(app: Flask, people: None, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings of the sign-in; yields what marks a request as one on the proxy's socket."""
    values = {"ProxyAdminGroups": "mail admins", "ProxyViewerGroups": "staff"}
    settings.change(values, actor=ADMIN, now=NOW)
    path = tmp_path / "proxy.sock"
    app.config["PORTAL"] = replace(
        app.config["PORTAL"], proxy_socket=path, proxy_user_header="Remote-User", proxy_groups_header="Remote-Groups"
    )
    with closing(socket.socket(socket.AF_UNIX)) as server, closing(socket.socket(socket.AF_UNIX)) as client:
        server.bind(str(path))
        server.listen()
        client.connect(str(path))
        accepted, _ = server.accept()
        with closing(accepted):
            yield {"gunicorn.socket": accepted}


def browser(app: Flask, environ: dict[str, Any], **headers: str) -> PageClient:
    client = app.test_client()
    client.environ_base |= environ | {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return PageClient(client)


def test_named_user_signs_in_with_the_role_of_the_groups(app: Flask, on_socket: dict[str, Any]) -> None:
    client = browser(app, on_socket, remote_user="dora", remote_groups="staff, mail admins")
    assert "Sign in as dora" in client.get("/login").text
    assert client.post("/login/proxy", {"next": "/users"}).location == "/users"
    assert "reverse proxy" in client.get("/users").text
    assert User.get(User.name == "dora").role is Role.ADMIN


def test_header_of_another_listener_is_not_believed(app: Flask, on_socket: dict[str, Any]) -> None:
    client = browser(app, {}, remote_user="dora", remote_groups="mail admins")
    assert "Sign in as" not in client.get("/login").text
    client.post("/login/proxy", status=404)


def test_session_ends_when_the_proxy_names_another_user(app: Flask, on_socket: dict[str, Any]) -> None:
    client = browser(app, on_socket, remote_user="dora", remote_groups="staff")
    client.post("/login/proxy")
    assert client.client.get("/tokens").status_code == 200
    client.client.environ_base["HTTP_REMOTE_USER"] = "eve"
    assert client.client.get("/tokens").status_code == 303
    del client.client.environ_base["HTTP_REMOTE_USER"]
    assert client.client.get("/tokens").status_code == 303


@pytest.mark.parametrize(("name", "groups"), [("dora", "guests"), ("dora", ""), ("d" * 101, "staff")])
def test_user_without_a_role_is_refused(app: Flask, on_socket: dict[str, Any], name: str, groups: str) -> None:
    client = browser(app, on_socket, remote_user=name, remote_groups=groups)
    client.post("/login/proxy")
    assert "Sign-in failed" in client.get("/login").text
    assert not User.select().where(User.name == name).exists()


def test_local_user_of_the_same_name_is_not_taken_over(app: Flask, on_socket: dict[str, Any]) -> None:
    client = browser(app, on_socket, remote_user=ADMIN, remote_groups="staff")
    client.post("/login/proxy")
    assert User.get(User.name == f"{ADMIN} (reverse proxy)").role is Role.VIEWER
    assert Event.select().where(Event.action == "user:added", Event.subject_name.contains("(reverse")).exists()
