"""OAuth callback: the last path segment of the redirect URI, under any path."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, session, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal.core import token_state
from portal.core.errors import ExternalError
from portal.core.language import _
from portal.models import Role, Token, TokenConfig
from portal.system import settings
from portal.system.setting_definitions import REDIRECT_SCRIPT
from portal.tokens.sign_in import admin_consent, authorization_code, owner_links
from portal.web import permissions
from portal.web.views.sign_ins import LINK_KEY, told

bp = Blueprint("callback", __name__)


@bp.get("/<path:path>")
@permissions.public
def answer(path: str) -> str | Response | tuple[str, int]:
    """Complete a sign-in. Public, because mailbox owners with a link are not users; all others must be signed in."""
    segment = path.rpartition("/")[2].removesuffix(".pl")
    if segment not in (REDIRECT_SCRIPT, settings.get("RedirectScript").removesuffix(".pl")):
        abort(404)
    if config := admin_consent.config_of(request.args.get("state", "")):
        return _for_administrator(config)
    # Decided by how the sign-in began, not by the current user: operators may open links that they created.
    if LINK_KEY in session and authorization_code.begun_by_link(request.args.get("state", "")):
        return _for_owner(session.pop(LINK_KEY))
    if current_user.is_authenticated and current_user.may(Role.OPERATOR):
        return _for_user()
    if session.pop(LINK_KEY, None):
        owner_links.reject(request.remote_addr or "", now=g.now)
        return render_template("error.html", title=_("Sign-in failed"), text=authorization_code.INVALID_STATE), 400
    if current_user.is_authenticated:
        abort(403)
    flash(_("Please sign in first, then request the token again."), "info")
    return redirect(url_for("sessions.login"), 303)


def _for_administrator(config: TokenConfig) -> str | tuple[str, int]:
    """Show the result of a consent to the tenant's administrator, who may be no user of the portal."""
    try:
        tenant = admin_consent.complete(config, request.args, by="tenant administrator", now=g.now)
    except ExternalError as error:
        return render_template("error.html", title=_("Consent not granted"), text=str(error)), 400
    text = _(
        "Consent was granted for the tenant {tenant}. The mailboxes can now be signed in. You can close this window.",
        tenant=tenant,
    )
    return render_template("error.html", title=_("Thank you"), text=text)


def _for_user() -> Response:
    me = permissions.me()
    try:
        token = authorization_code.complete(request.args, by=me.name, user=me.user, browser=me.session, now=g.now)
    except ExternalError as error:
        flash(_("Sign-in failed. {error}", error=error), "error")
        return redirect(url_for("tokens.index"), 303)
    if token.has_refresh_token:
        text = _("Signed in as {owner}. The token is now refreshed automatically.", owner=told(token))
    else:
        text = _("Signed in as {owner}.", owner=told(token))
    flash(text, "success")
    for line in _doubts(token):
        flash(line, "warning")
    return redirect(url_for("tokens.index"), 303)


def _doubts(token: Token) -> list[str]:
    """Warnings about a new token, shown right after the sign-in."""
    doubts = []
    if not token.has_refresh_token:
        doubts.append(
            _(
                "The provider issued no refresh token: the token expires and cannot be refreshed. Request offline "
                "access (Google: prompt=consent; Microsoft: scope offline_access) and sign in again."
            )
        )
    if missing := token_state.missing_scopes(token.token_config.scope, token.granted_scope):
        doubts.append(
            _(
                "Not granted: {names}. Sign in again and consent to it, or ask an administrator at the provider.",
                names=", ".join(missing),
            )
        )
    return doubts


def _for_owner(key: str) -> str | tuple[str, int]:
    link = owner_links.find(key, now=g.now)
    if link is None:
        return render_template("error.html", title=_("Link no longer valid"), text=_("Ask for a new link.")), 404
    try:
        token = authorization_code.complete(
            request.args,
            by=f"owner link by {link.created_by}",
            user=None,
            browser=link,
            now=g.now,
        )
    except ExternalError as error:
        text = _("{error} Open your link again to restart the sign-in.", error=error)
        return render_template("error.html", title=_("Sign-in failed"), text=text), 400
    text = _("You signed in as {owner}. You can close this window.", owner=told(token))
    return render_template("error.html", title=_("Thank you"), text=text)
