"""WSGI entry point for external servers: ``gunicorn wsgi:app``."""

from portal import create_app

app = create_app()
