"""Permissions. Closed by default: an unmarked view requires a login, a change requires the role that it names."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from flask import Flask, abort, current_app, flash, g, redirect, request, session, url_for
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.wrappers import Response

from portal.access import users
from portal.core.encryption import Secret
from portal.models import LoginSession, Role, User

View = TypeVar("View", bound=Callable[..., Any])
login_manager = LoginManager()
_KEY = "_user_id"
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


def actor() -> str:
    """The name of the current user, for the audit trail."""
    return str(current_user.name)


def me() -> CurrentUser:
    """The current user; only in views that require a login."""
    return current_user  # type: ignore[no-any-return]


def sign_in(name: str, password: Secret) -> None:
    """Check name and password, and sign this browser in with a new session."""
    key = users.sign_in(name, password, address=request.remote_addr or "", now=g.now)
    _use(key)


def sign_in_as(user: User) -> None:
    _use(users.open_session(user, now=g.now))


def _use(key: Secret) -> None:
    session.clear()
    row = users.session_of(key.reveal(), now=g.now)
    assert row is not None
    login_user(CurrentUser(row, key.reveal()))


def sign_out() -> None:
    users.sign_out(me().session, now=g.now)
    logout_user()
    session.clear()


def init_app(app: Flask) -> None:
    login_manager.init_app(app)
    login_manager.session_protection = None  # sessions are stored in the database and end there
    login_manager.user_loader(_load)
    app.before_request(_guard)


def _load(key: str) -> CurrentUser | None:
    row = users.session_of(key, now=g.now)
    return CurrentUser(row, key) if row else None


def _guard() -> Response | None:
    # Set once per request, so that all rules see the same time.
    g.now = datetime.now(UTC)
    if _has_nul():
        abort(400, "The request contains a NUL character, which the portal does not accept.")
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.endpoint == "static":
        return None
    role = getattr(view, "needs", Role.VIEWER)
    if role is None:
        return None
    if not current_user.is_authenticated:
        flash("Please sign in first.", "info")
        # A POST is not repeated after the sign-in, and an OAuth response is bound to the previous session.
        after = request.full_path.rstrip("?") if request.method == "GET" and not request.args.get("state") else None
        return redirect(url_for("sessions.login", next=after), 303)
    if not current_user.may(role):
        abort(403)
    return None


def _has_nul() -> bool:
    """Whether path, query or form contain a NUL character. Other bodies are skipped: they may be large messages."""
    if "\0" in request.path or b"%00" in request.query_string:
        return True
    is_form = request.method == "POST" and request.mimetype in _FORMS
    return is_form and any("\0" in value for _, value in request.form.items(multi=True))


def local_path(target: str | None) -> str | None:
    """``target`` if it is a path on this portal, otherwise None (prevents open redirects)."""
    if target and target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable():
        return target
    return None
