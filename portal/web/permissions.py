"""Permissions. Closed by default: an unmarked view requires a login, a change requires the role that it names."""

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, abort, current_app, flash, g, redirect, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from itsdangerous import BadSignature, URLSafeSerializer
from werkzeug.wrappers import Response

from portal.access import operator_limits, proxy_users, second_factors, sessions, token_hosts
from portal.access.sessions import Browser
from portal.core import keys
from portal.core.config import Config
from portal.core.encryption import Secret
from portal.core.language import _
from portal.models import LoginSession, Role, Token, User
from portal.system import audit
from portal.web import requested_rows
from portal.web.buffering_worker import SMALL_BODY
from portal.web.listeners import Listener, listener_of

View = TypeVar("View", bound=Callable[..., Any])
login_manager = LoginManager()
logger = logging.getLogger(__name__)
_KEY = "_user_id"
#: In the browser's signed session: the user whose second factor is awaited.
_WAITING, _WAITING_LIFE = "waits_for_factor", timedelta(minutes=5)
#: Pages for users who must first add a second factor.
_WITHOUT_FACTOR = ("profile", "sessions", "second_factor")
_KNOWN_SECONDS = 180 * 24 * 3600
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class CurrentUser(UserMixin):  # type: ignore[misc]  # flask-login has no types
    """A signed-in user in one browser; the cookie contains the session's key, not the user's id."""

    def __init__(self, session_row: LoginSession, key: str) -> None:
        self.session = session_row
        self.user: User = session_row.user
        self._key = key

    @property
    def name(self) -> str:
        return self.user.name

    def may(self, role: str) -> bool:
        return Role(self.user.role).covers(Role(role))

    def get_id(self) -> str:
        return self._key


def public(view: View) -> View:
    """Mark a view as accessible without login."""
    view.needs = None  # type: ignore[attr-defined]
    return view


def needs(role: Role) -> Callable[[View], View]:
    """Mark a view as restricted to this role and higher roles."""

    def mark(view: View) -> View:
        view.needs = role  # type: ignore[attr-defined]
        return view

    return mark


def confirmed(view: View) -> View:
    """Mark a view as open only within ten minutes after the user proved to be present."""
    view.needs_confirmation = lambda: True  # type: ignore[attr-defined]
    return view


def confirmed_for_changes(view: View) -> View:
    """Mark a page whose form, but not whose display, needs the confirmation."""
    view.needs_confirmation = lambda: request.method == "POST"  # type: ignore[attr-defined]
    view.confirms_changes = True  # type: ignore[attr-defined]
    return view


def awaits_confirmation() -> bool:
    """Whether a change on the shown page needs the confirmation first, which would lose what was entered."""
    view = current_app.view_functions.get(request.endpoint or "")
    return getattr(view, "confirms_changes", False) and not sessions.is_confirmed(me().session, g.now)


def confirmed_for_commands(view: View) -> View:
    """Mark a view likewise where destinations may run programs (PORTAL_ALLOW_COMMANDS)."""
    view.needs_confirmation = lambda: current_app.config["PORTAL"].allow_commands  # type: ignore[attr-defined]
    return view


def require_confirmation_for(token: Token | None, host: str, field: str) -> None:
    """Raise Invalid for ``field`` before a token is sent to a new host by an unconfirmed session."""
    confirmed_now = sessions.is_confirmed(me().session, g.now)
    token_hosts.require_confirmation(token, host, field, is_confirmed=confirmed_now)


def actor() -> str:
    """The name of the current user, for the audit trail."""
    return str(current_user.name)


def me() -> CurrentUser:
    """The current user; only in views that require a login."""
    return current_user  # type: ignore[no-any-return]


def check_password(name: str, password: Secret) -> User:
    """Return the user whose name and password match. Raises as ``sessions.check_password``."""
    address = request.remote_addr or ""
    user = sessions.check_password(name, password, address=address, is_known=_is_known(name), now=g.now)
    g.signed_in_as = name
    return user


def wait_for_factor(user: User, target: str) -> None:
    """Remember in this browser that the password was right, until the second factor was checked."""
    session.clear()
    session[_WAITING] = {"user": user.id, "at": g.now.isoformat(), "next": target}


def waiting() -> tuple[User, str] | None:
    """The user whose password was right and whose second factor is awaited, and the page that was requested."""
    kept = session.get(_WAITING)
    if kept is None or g.now > datetime.fromisoformat(kept["at"]) + _WAITING_LIFE:
        return None
    user = User.get_or_none(User.id == kept["user"], User.disabled_at.is_null())
    return (user, kept["next"]) if user else None


def _known() -> URLSafeSerializer:
    options = {"digest_method": hashlib.sha256}
    return URLSafeSerializer(list(reversed(keys.current().signing_keys())), salt="known-browser", signer_kwargs=options)


def _known_cookie() -> str:
    # Its path excludes the prefix __Host-.
    return "__Secure-portal_known" if request.is_secure else "portal_known"


def _is_known(name: str) -> bool:
    """Whether this user has signed in in this browser before."""
    try:
        return bool(_known().loads(request.cookies.get(_known_cookie(), "")) == name.casefold())
    except BadSignature:
        return False


def remember_browser(response: Response) -> Response:
    """Give the browser a cookie that says who signed in in it; it allows nothing but more attempts."""
    if name := g.get("signed_in_as"):
        value = str(_known().dumps(name.casefold()))
        secure = bool(current_app.session_interface.get_cookie_secure(current_app))
        kept: dict[str, Any] = {"max_age": _KNOWN_SECONDS, "path": "/login", "secure": secure}
        response.set_cookie(_known_cookie(), value, httponly=True, samesite="Lax", **kept)
    return response


def sign_in_as(user: User, how: str) -> None:
    """Sign this browser in with a new session; ``how`` names the factors for the audit trail."""
    if current_user.is_authenticated:
        sessions.sign_out(me().session, now=g.now)
    _use(sessions.open_session(user, Browser(request.remote_addr or "", request.user_agent.string), how=how, now=g.now))


def _use(key: Secret) -> None:
    session.clear()
    row = sessions.session_of(key.reveal(), now=g.now)
    assert row is not None
    login_user(CurrentUser(row, key.reveal()))


def sign_out() -> None:
    sessions.sign_out(me().session, now=g.now)
    logout_user()
    session.clear()


def init_app(app: Flask) -> None:
    login_manager.init_app(app)
    login_manager.session_protection = None  # sessions are stored in the database and end there
    login_manager.user_loader(_load)
    app.before_request(_guard)
    app.after_request(remember_browser)


def _load(key: str) -> CurrentUser | None:
    row = sessions.session_of(key, is_renewal="X-Renewal" in request.headers, now=g.now)
    if row and row.user.issuer == proxy_users.ISSUER and row.user.subject != (named_by_proxy() or ("", ""))[0]:
        # The proxy signed the user out, or another one in.
        return None
    return CurrentUser(row, key) if row else None


def named_by_proxy() -> tuple[str, str] | None:
    """The user and the groups that the reverse proxy names; None: it names none, or the request is not the proxy's."""
    config: Config = current_app.config["PORTAL"]
    if not config.proxy_user_header or listener_of(request.environ, config) is not Listener.PROXY:
        return None
    user = request.headers.get(config.proxy_user_header, "").strip()
    return (user, request.headers.get(config.proxy_groups_header, "")) if user else None


def _guard() -> Response | None:
    # Set once per request, so that all rules see the same time.
    g.now = datetime.now(UTC)
    if "\0" in request.path or b"%00" in request.query_string:
        _refuse_nul()
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.endpoint == "static":
        return None
    role = getattr(view, "needs", Role.VIEWER)
    if role is None:
        _require_small_form()
    elif refused := _refused(role) or _sent_elsewhere(view):
        return refused
    if _form_has_nul():
        _refuse_nul()
    return None


def _require_small_form() -> None:
    """Abort if a stranger sends a form that the web server has not received whole: it would hold a thread.

    The API checks the key before it reads a body.
    """
    if request.method == "POST" and request.mimetype in _FORMS:
        if request.content_length is None:
            abort(411)
        if request.content_length > SMALL_BODY:
            abort(413)


def _refused(role: Role) -> Response | None:
    """The response to a user who may not see the page; None: the user may."""
    if not current_user.is_authenticated:
        if request.path != "/":
            flash(_("Please sign in first."), "info")
        # A POST is not repeated after the sign-in, and an OAuth response is bound to the previous session.
        after = request.full_path.rstrip("?") if request.method == "GET" and not request.args.get("state") else None
        return redirect(url_for("sessions.login", next=after), 303)
    if not current_user.may(role) or (role is Role.OPERATOR and _is_beyond_limits()):
        audit.about_once(me().user, me().name, "not-allowed", f"{request.method} {request.path}", g.now)
        abort(403)
    return None


def _is_beyond_limits() -> bool:
    """Whether the user is an operator of named configurations, and the request acts on another one."""
    user = me().user
    return operator_limits.is_limited(user) and not operator_limits.may_act_on(user, requested_rows.row_of(request))


def _sent_elsewhere(view: Any) -> Response | None:
    """The redirect of a user who must first add a second factor, or prove to be present; None: the user need not."""
    if request.blueprint not in _WITHOUT_FACTOR and second_factors.must_add_one(me().user):
        flash(_("Your role requires a second factor. Add an authenticator app or a passkey to continue."), "info")
        return redirect(url_for("profile.index"), 303)
    if getattr(view, "needs_confirmation", bool)() and not sessions.is_confirmed(me().session, g.now):
        return redirect(url_for("second_factor.confirm", next=_page_to_repeat()), 303)
    return None


def _page_to_repeat() -> str:
    """The page of the request, or the page with the form, whose entries are then made again."""
    if request.method == "GET":
        return request.full_path.rstrip("?")
    flash(_("Nothing was changed. After the confirmation, enter it again."), "info")
    back = urlsplit(request.referrer or "")
    return back.path if back.netloc == request.host else url_for("home.index")


def _refuse_nul() -> None:
    logger.warning("%s from %s: refused, because it contains a NUL character", request.path, request.remote_addr)
    abort(400, _("The request contains a NUL character, which the portal does not accept."))


def _form_has_nul() -> bool:
    """Whether the form contains a NUL character. Other bodies are skipped: they may be large messages."""
    is_form = request.method == "POST" and request.mimetype in _FORMS
    return is_form and any("\0" in value for _, value in request.form.items(multi=True))


def local_path(target: str | None) -> str | None:
    """``target`` if it is a path on this portal, otherwise None (prevents open redirects)."""
    if target and target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable():
        return target
    return None
