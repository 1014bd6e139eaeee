"""The Mail Token Portal."""

from typing import TYPE_CHECKING

from portal.core.version import VERSION

if TYPE_CHECKING:
    from flask import Flask

    from portal.core.config import Config

__version__ = VERSION


def create_app(config: "Config | None" = None) -> "Flask":
    """Create the web application. ``config`` None: read the process settings from the environment."""
    from portal.web import app

    return app.create_app(config)
