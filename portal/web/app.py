"""The Flask application factory."""

import hashlib
import logging
from urllib.parse import urlsplit

import jinja2
from flask import Flask, Request, Response, abort, g, render_template, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_login import current_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from peewee import DataError
from werkzeug.exceptions import HTTPException

from portal.core import keys, tracing
from portal.core.config import Config, from_environment
from portal.core.db import database
from portal.core.errors import NotFound
from portal.core.language import _
from portal.core.loopback import is_loopback
from portal.core.resources import folder
from portal.models import Role
from portal.monitoring import notices
from portal.monitoring.banner import Banner
from portal.runtime import startup
from portal.system import settings
from portal.web import filters, languages, listeners, lists, permissions, views
from portal.web.views import fix_links

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_COOKIE = "portal_session"
logger = logging.getLogger(__name__)
csrf = CSRFProtect()


def create_app(config: Config | None = None) -> Flask:
    config = config or from_environment()
    startup.start(config)
    app = Flask("portal", template_folder=str(folder("templates")), static_folder=str(folder("static")))
    _configure(app, config)
    _trace(app)
    _connect(app)
    _expect_host(app)
    permissions.init_app(app)
    csrf.init_app(app)
    languages.init_app(app)
    filters.init_app(app)
    views.init_app(app)
    # API requests do not authenticate by cookie, so cross-site request forgery does not apply.
    csrf.exempt(views.api.bp)
    _context(app)
    _errors(app)
    app.after_request(_headers)
    return app


class _Sessions(SecureCookieSessionInterface):
    digest_method = staticmethod(hashlib.sha256)

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        _use_newest_keys(app)
        return super().open_session(app, request)

    def get_cookie_name(self, app: Flask) -> str:
        """With the prefix __Host-, browsers accept the cookie from this host over https only (RFC 6265bis 4.1.3.2)."""
        return f"__Host-{_COOKIE}" if request.is_secure else _COOKIE

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure or (settings.uses_https() and not is_loopback(urlsplit(request.host_url).hostname))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # Programs have no session, and get thousands of tokens.
        if session or session.modified:
            super().save_session(app, session, response)


def _configure(app: Flask, config: Config) -> None:
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",  # Strict would drop the session on the way back from the provider
        WTF_CSRF_TIME_LIMIT=None,
        MAX_CONTENT_LENGTH=2 * 1024 * 1024,
        PORTAL=config,
    )
    app.session_interface = _Sessions()
    _use_newest_keys(app)
    app.jinja_options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.wsgi_app = listeners.behind_proxies(app.wsgi_app, config)  # type: ignore[method-assign, assignment]


def _use_newest_keys(app: Flask) -> None:
    """Sign cookies and forms with the newest key; all processes do so at once after a rotation."""
    ring = keys.current()
    if app.extensions.get("key_ring") is not ring:
        newest, *older = ring.signing_keys()
        app.config.update(SECRET_KEY=newest, SECRET_KEY_FALLBACKS=older)
        app.extensions["key_ring"] = ring


def _trace(app: Flask) -> None:
    """Make each request a span; opened and closed by hooks, so that its errors are logged within."""

    @app.before_request
    def begin() -> None:
        g.span = tracing.span(f"{request.method} {request.url_rule or 'unknown'}")
        g.span.__enter__()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        if "span" in g:
            g.pop("span").__exit__(None, None, None)


def _expect_host(app: Flask) -> None:
    @app.before_request
    def expect_host() -> None:
        """Refuse a name that is not the portal's: it may be another site's, pointed at this address (DNS rebinding)."""
        local = listeners.listener_of(request.environ, app.config["PORTAL"]) is listeners.Listener.LOCAL
        # Programs have a key, which another site does not know.
        if local or request.blueprint in ("health", "api") or settings.serves(urlsplit(request.host_url).hostname):
            return
        logger.warning("A request for the host %s was refused, from %s", request.host[:200], request.remote_addr)
        abort(
            421,
            _(
                "This portal is at {portal_url}. Other names are entered in the setting HostAliases.",
                portal_url=settings.portal_url(),
            ),
        )


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
    def announced() -> Banner:
        """Called by the signed-in layout only: the page for internal errors must not query the database again."""
        return Banner(notices.banners(g.now) if current_user.may(Role.OPERATOR) else [])

    app.add_template_global(lists.changed_url, "changed_url")
    app.add_template_global(fix_links.fix_url, "fix_url")
    app.add_template_global(fix_links.row_url, "row_url")
    app.add_template_global(fix_links.row_page, "row_page")
    app.add_template_global(permissions.awaits_confirmation, "awaits_confirmation")
    app.add_template_global(lambda: g.now, "now")


def _errors(app: Flask) -> None:
    @app.errorhandler(NotFound)
    def not_found(error: NotFound) -> tuple[str, int]:
        return render_template("error.html", title=_("Not found"), text=str(error)), 404

    @app.errorhandler(OverflowError)
    @app.errorhandler(DataError)
    def number_too_large(error: Exception) -> tuple[str, int]:
        """An id or page number in the URL that exceeds the database's integer range."""
        return render_template("error.html", title=_("Not found"), text=_("The page was not found.")), 404

    @app.errorhandler(CSRFError)
    def stale_form(error: CSRFError) -> tuple[str, int]:
        logger.warning("%s from %s: %s", request.path, request.remote_addr, error.description)
        text = _("This form was opened in another session. Go back, reload the page and send it again.")
        return render_template("error.html", title=_("The form is out of date"), text=text), 400

    @app.errorhandler(500)
    def bug(error: HTTPException) -> tuple[str, int]:
        return render_template("bug.html", trace=tracing.current()), 500

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response | tuple[str, int]:
        if request.path.startswith(f"{views.api.bp.url_prefix}/"):
            return views.api.http_problem(error)
        texts = {
            403: _("Your role does not allow this. Ask an admin of the portal."),
            404: _("Page not found. Check the address, or use the menu above."),
            405: _("This address does not support this request. Use the buttons on the page."),
            413: _("The request is too large."),
        }
        titles = {403: _("Not allowed"), 404: _("Not found"), 405: _("Not supported"), 413: _("Too large")}
        code = error.code or 500
        title, text = titles.get(code, _("Not possible")), texts.get(code, error.description or "")
        return render_template("error.html", title=title, text=text), code


def _headers(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.is_secure and settings.uses_https():
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.blueprint == "api":
        response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
        return response
    response.headers["Content-Security-Policy"] = _CSP
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"
    return response
