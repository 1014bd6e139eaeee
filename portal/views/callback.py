"""Where the provider sends the browser back to: the last segment of the redirect URI, under whatever path."""

from flask import Blueprint, abort, flash, g, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import access, settings, signing_in
from portal.errors import OutsideError
from portal.models import Role

bp = Blueprint("callback", __name__)


@bp.get("/<path:path>")
@access.needs(Role.OPERATOR)
def answer(path: str) -> Response:
    segment = path.rpartition("/")[2].removesuffix(".pl")
    if segment not in (settings.REDIRECT_SCRIPT, settings.get("RedirectScript").removesuffix(".pl")):
        abort(404)
    me = access.me()
    try:
        token = signing_in.complete(request.args, by=me.name, user=me.user, login_session=me.session, now=g.now)
    except OutsideError as error:
        flash(f"The sign-in came to nothing. {error}", "error")
        return redirect(url_for("tokens.index"), 303)
    who = token.owner or "an account that the provider does not name"
    flash(f"Signed in as {who}. The token is kept alive from now on.", "success")
    if not token.has_refresh_token:
        flash("The provider gave no refresh token: this token ends by itself. Its page says what to do.", "warning")
    return redirect(url_for("tokens.index"), 303)
