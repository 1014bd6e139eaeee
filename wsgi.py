"""For a WSGI server of your own: ``gunicorn wsgi:app``."""

from portal import create_app

app = create_app()
