"""Where the provider sends the browser back to: the last segment of the redirect URI, under whatever path."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, session, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal.core import token_state
from portal.core.errors import OutsideError
from portal.models import Role, Token
from portal.system import settings
from portal.system.setting_definitions import REDIRECT_SCRIPT
from portal.tokens.sign_in import authorization_code, owner_links
from portal.web import permissions
from portal.web.views.sign_ins import LINK_KEY, told

bp = Blueprint("callback", __name__)


@bp.get("/<path:path>")
@permissions.public
def answer(path: str) -> str | Response | tuple[str, int]:
    """Public, because a mailbox owner with a link is no user; everyone else needs to be signed in."""
    segment = path.rpartition("/")[2].removesuffix(".pl")
    if segment not in (REDIRECT_SCRIPT, settings.get("RedirectScript").removesuffix(".pl")):
        abort(404)
    # By what the sign-in was begun with, not by who is signed in: an operator may open the link he made.
    if LINK_KEY in session and authorization_code.begun_by_link(request.args.get("state", "")):
        return _for_owner(session.pop(LINK_KEY))
    if current_user.is_authenticated and current_user.may(Role.OPERATOR):
        return _for_user()
    if session.pop(LINK_KEY, None):
        owner_links.reject(request.remote_addr or "", now=g.now)
        return render_template(
            "error.html", title="The sign-in came to nothing", text=authorization_code.FOREIGN_STATE
        ), 400
    if current_user.is_authenticated:
        abort(403)
    flash("Please sign in first, then request the token again.", "info")
    return redirect(url_for("sessions.login"), 303)


def _for_user() -> Response:
    me = permissions.me()
    try:
        token = authorization_code.complete(request.args, by=me.name, user=me.user, browser=me.session, now=g.now)
    except OutsideError as error:
        flash(f"The sign-in came to nothing. {error}", "error")
        return redirect(url_for("tokens.index"), 303)
    flash(f"Signed in as {told(token)}. The token is kept alive from now on.", "success")
    for line in _doubts(token):
        flash(line, "warning")
    return redirect(url_for("tokens.index"), 303)


def _doubts(token: Token) -> list[str]:
    """What is said at once rather than an hour later."""
    doubts = []
    if not token.has_refresh_token:
        doubts.append(
            "The provider gave no refresh token: this token ends by itself. Ask for offline access "
            "(Google: prompt=consent; Microsoft: scope offline_access) and sign in again."
        )
    if missing := token_state.missing_scopes(token.token_config.scope, token.granted_scope):
        doubts.append(f"Not granted: {', '.join(missing)}. Sign in again and agree to it, or ask the provider's admin.")
    return doubts


def _for_owner(key: str) -> str | tuple[str, int]:
    link = owner_links.find(key, now=g.now)
    if link is None:
        return render_template("error.html", title="The link has ended", text="Ask for a new one."), 404
    try:
        token = authorization_code.complete(
            request.args, by=f"owner link by {link.created_by}", user=None, browser=link, now=g.now
        )
    except OutsideError as error:
        text = f"{error} Open your link again to start anew."
        return render_template("error.html", title="The sign-in came to nothing", text=text), 400
    text = f"You signed in as {told(token)}. You can close this window."
    return render_template("error.html", title="Thank you", text=text)
