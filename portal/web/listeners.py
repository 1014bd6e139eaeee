"""The listeners of the web server, and the headers of a reverse proxy, which are believed only on its own listener."""

import socket
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.middleware.proxy_fix import ProxyFix

from portal.core.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication


class Listener(Enum):
    TCP = auto()
    #: For programs of this host, which the kernel identifies.
    LOCAL = auto()
    #: For the reverse proxy alone.
    PROXY = auto()


def listener_of(environ: dict[str, Any], config: Config) -> Listener:
    """Return the listener that received the request; gunicorn names its socket."""
    connection = environ.get("gunicorn.socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return Listener.TCP
    return Listener.PROXY if Path(connection.getsockname()) == config.proxy_socket else Listener.LOCAL


def behind_proxies(application: "WSGIApplication", config: Config) -> "WSGIApplication":
    """Apply ``X-Forwarded-*`` of requests from a proxy; with PORTAL_PROXY_SOCKET, of requests on that socket only."""
    if not (config.trusted_proxies or config.proxy_socket):
        return application
    hops = config.trusted_proxies or 1
    forwarded = ProxyFix(application, x_for=hops, x_proto=hops, x_host=hops)
    believed = Listener.PROXY if config.proxy_socket else Listener.TCP

    def choose(environ: dict[str, Any], start: "StartResponse") -> "Iterable[bytes]":
        chosen = forwarded if listener_of(environ, config) is believed else application
        return chosen(environ, start)

    return choose
