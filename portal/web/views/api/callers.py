"""Who calls the HTTP API: a program with an API key, or a local user on the Unix socket."""

import pwd
import socket
import struct
from dataclasses import dataclass

from flask import current_app, g, request

from portal.access import api_keys
from portal.models import ApiKey
from portal.web.listeners import Listener, listener_of


@dataclass(frozen=True)
class Caller:
    """The caller of a request. ``key`` None: a local user, authenticated by the unix socket."""

    key: ApiKey | None
    #: IP address, or ``user NAME``.
    place: str

    @property
    def name(self) -> str:
        return self.key.name if self.key else self.place


def caller() -> Caller:
    """The authenticated caller; raises InvalidKey."""
    if user := _local_user():
        return Caller(None, f"user {user}")
    address = request.remote_addr or ""
    return Caller(api_keys.authenticate(key(), address, now=g.now), address)


def key() -> str:
    """The API key of the request; empty without a Bearer header."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _local_user() -> str | None:
    """The user connected to the portal's unix socket, as the kernel reports it; None for other listeners."""
    if listener_of(request.environ, current_app.config["PORTAL"]) is not Listener.LOCAL:
        return None
    connection = request.environ["gunicorn.socket"]
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
