"""The Flask application factory."""

import jinja2
from flask import Flask, Response, g, render_template, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_login import current_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from peewee import DataError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from portal.core import encryption
from portal.core.config import Config, from_environment
from portal.core.db import database
from portal.core.errors import NotFound
from portal.core.resources import folder
from portal.models import Role
from portal.monitoring import notices
from portal.monitoring.problems import Problem
from portal.runtime import startup
from portal.web import filters, permissions, views
from portal.web.views import fix_links

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
csrf = CSRFProtect()


def create_app(config: Config | None = None) -> Flask:
    config = config or from_environment()
    startup.start(config)
    app = Flask("portal", template_folder=str(folder("templates")), static_folder=str(folder("static")))
    _configure(app, config)
    _connect(app)
    permissions.init_app(app)
    csrf.init_app(app)
    filters.init_app(app)
    views.init_app(app)
    # API requests do not authenticate by cookie, so cross-site request forgery does not apply.
    csrf.exempt(views.api.bp)
    _context(app)
    _errors(app)
    app.after_request(_headers)
    return app


class _Sessions(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # Programs have no session, and get thousands of tokens.
        if session or session.modified:
            super().save_session(app, session, response)


def _configure(app: Flask, config: Config) -> None:
    newest, *older = encryption.keys().signing_keys()
    app.config.update(
        SECRET_KEY=newest,
        SECRET_KEY_FALLBACKS=older,
        SESSION_COOKIE_NAME="portal_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",  # Strict would drop the session on the way back from the provider
        WTF_CSRF_TIME_LIMIT=None,
        MAX_CONTENT_LENGTH=2 * 1024 * 1024,
        PORTAL=config,
    )
    app.session_interface = _Sessions()
    app.jinja_options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    if config.trusted_proxies:
        hops = config.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def _connect(app: Flask) -> None:
    @app.before_request
    def open_connection() -> None:
        if request.endpoint not in ("static", "health.alive", "health.ready"):
            database.connect(reuse_if_open=True)

    @app.teardown_request
    def close_connection(error: BaseException | None) -> None:
        # Token requests keep the connection: opening one costs as much as answering the request.
        if request.endpoint != "api.token" and not database.is_closed():
            database.close()


def _context(app: Flask) -> None:
    @app.template_global()
    def banners() -> list[Problem]:
        """Called by the signed-in layout only: the page for internal errors must not query the database again."""
        return notices.banners(g.now) if current_user.may(Role.OPERATOR) else []

    app.add_template_global(fix_links.fix_url, "fix_url")
    app.add_template_global(fix_links.row_url, "row_url")
    app.add_template_global(lambda: g.now, "now")


def _errors(app: Flask) -> None:
    @app.errorhandler(NotFound)
    def not_found(error: NotFound) -> tuple[str, int]:
        return render_template("error.html", title="Not found", text=str(error)), 404

    @app.errorhandler(OverflowError)
    @app.errorhandler(DataError)
    def number_too_large(error: Exception) -> tuple[str, int]:
        """An id or page number in the URL that exceeds the database's integer range."""
        return render_template("error.html", title="Not found", text="The page was not found."), 404

    @app.errorhandler(CSRFError)
    def stale_form(error: CSRFError) -> tuple[str, int]:
        text = "This form was opened in another session. Go back, reload the page and send it again."
        return render_template("error.html", title="The form is out of date", text=text), 400

    @app.errorhandler(500)
    def bug(error: HTTPException) -> tuple[str, int]:
        return render_template("bug.html"), 500

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response | tuple[str, int]:
        if request.path.startswith(f"{views.api.bp.url_prefix}/"):
            return views.api.http_problem(error)
        texts = {
            403: "Your role does not allow this. Ask an admin of the portal.",
            404: "Page not found. Check the address, or use the menu above.",
            405: "This address does not support this request. Use the buttons on the page.",
            413: "The request is too large.",
        }
        code = error.code or 500
        text = texts.get(code, error.description or "")
        return render_template("error.html", title=error.name.capitalize(), text=text), code


def _headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.blueprint == "api":
        return response
    response.headers["Content-Security-Policy"] = _CSP
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response
