"""WSGI entry point for external servers: ``gunicorn wsgi:app``."""

import os

from portal import create_app

# Nothing that the portal writes is for other users of this host.
os.umask(0o077)
app = create_app()
