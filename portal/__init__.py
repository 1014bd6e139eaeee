"""The Mail Token Portal."""

from flask import Flask

from portal.config import Config

__version__ = "0.1.0"


def create_app(config: Config | None = None) -> Flask:
    """The web application; the process settings come from the environment unless they are given."""
    from portal import web

    return web.create_app(config)
