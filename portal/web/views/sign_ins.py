"""Sign-in of a mailbox: in this browser, by a pasted callback address, by device code, by a link for its owner."""

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from portal.core.errors import ExternalError, NotFound, PortalError
from portal.core.language import _
from portal.models import DeviceSignIn, Role, Token
from portal.system import settings
from portal.tokens import token_configs
from portal.tokens.sign_in import authorization_code, device_code, owner_links
from portal.web import permissions, qr_codes
from portal.web.forms import Form
from portal.web.views.tokens import back_to, find_token

bp = Blueprint("sign_ins", __name__)
#: Session entry that holds the key of the link of a mailbox owner.
LINK_KEY = "owner_link"


@bp.post("/tokens/token/<int:token_id>/request")
@permissions.needs(Role.OPERATOR)
def begin(token_id: int) -> str | Response:
    """Begin a sign-in and lead the browser to the provider's sign-in page.

    Through an intermediate page: browsers apply the CSP form-action directive to redirects after a form submission,
    and providers redirect to hosts that are not known in advance.
    """
    token, me = find_token(token_id), permissions.me()
    if not token.token_config.flow.has_sign_in:
        return redirect(url_for("tokens.refresh", token_id=token.id), 307)
    try:
        address = authorization_code.begin(
            token, by=me.name, browser=me.session, now=g.now, replace_owner="replace" in request.form
        )
    except PortalError as error:
        flash(str(error), "error")
        return redirect(back_to(token), 303)
    return render_template("tokens/leaving.html", address=address)


@bp.post("/tokens/token/<int:token_id>/paste")
@permissions.needs(Role.OPERATOR)
def paste(token_id: int) -> str | Response:
    """Begin a sign-in where the browser cannot reach the callback: the user pastes the callback address."""
    token, me = find_token(token_id), permissions.me()
    try:
        address = authorization_code.begin(token, by=me.name, browser=me.session, now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(back_to(token), 303)
    return render_template("tokens/paste.html", form=Form(), token=token, address=address)


@bp.post("/tokens/token/<int:token_id>/pasted")
@permissions.needs(Role.OPERATOR)
def pasted(token_id: int) -> Response:
    token, me = find_token(token_id), permissions.me()
    try:
        parameters = authorization_code.answer_parameters(request.form.get("answer", ""))
        signed_in = authorization_code.complete(parameters, by=me.name, user=me.user, browser=me.session, now=g.now)
    except ExternalError as error:
        flash(_("Sign-in failed. {error} Press “Paste the address” again.", error=error), "error")
        return redirect(back_to(token), 303)
    flash(_("Signed in as {owner}.", owner=told(signed_in)), "success")
    return redirect(back_to(token), 303)


@bp.post("/tokens/token/<int:token_id>/device")
@permissions.needs(Role.OPERATOR)
def begin_device(token_id: int) -> Response:
    token = find_token(token_id)
    try:
        row = device_code.begin(token, by=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(_("The provider issued no device code. {error}", error=error), "error")
        return redirect(back_to(token), 303)
    return redirect(url_for("sign_ins.device", row_id=row.id), 303)


@bp.get("/tokens/device/<int:row_id>")
@permissions.needs(Role.OPERATOR)
def device(row_id: int) -> str | Response:
    """Show the user code, as text and QR code, until the sign-in has ended."""
    row: DeviceSignIn | None = DeviceSignIn.get_or_none(DeviceSignIn.id == row_id)
    if row is None:
        raise NotFound(_("The sign-in was not found."))
    if row.ended_at:
        if row.failure:
            flash(_("Sign-in failed. {error}", error=row.failure), "error")
        else:
            flash(_("Signed in as {owner}.", owner=row.token.owner), "success")
        return redirect(back_to(row.token), 303)
    return render_template(
        "tokens/device.html", row=row, picture=qr_codes.picture(row.verification_uri_complete or row.verification_uri)
    )


@bp.post("/tokens/token/<int:token_id>/owner-link")
@permissions.needs(Role.OPERATOR)
def make_link(token_id: int) -> str | Response:
    """Create a sign-in link for the mailbox owner; it is shown only once."""
    token, mailbox = find_token(token_id), request.form.get("mailbox", "").strip()
    try:
        token = token_configs.name_owner(token, mailbox, actor=permissions.actor(), now=g.now) if mailbox else token
    except PortalError as error:
        flash(str(error), "error")
        return redirect(back_to(token), 303)
    key = owner_links.create(token, actor=permissions.actor(), now=g.now)
    # Never from the request: its Host header may be forged.
    address = f"{settings.portal_url().rstrip('/')}{url_for('sign_ins.owner', key=key.reveal())}"
    return render_template("tokens/owner_link.html", token=token, address=address)


@bp.route("/sign-in/<key>", methods=["GET", "POST"])
@permissions.public
def owner(key: str) -> str | tuple[str, int]:
    """Page for the mailbox owner: the name of the sign-in and a button."""
    link = owner_links.find(key, now=g.now)
    if link is None:
        owner_links.reject(request.remote_addr or "", now=g.now)
        text = _("The link was already used or is older than 24 hours. Ask for a new link.")
        return render_template("error.html", title=_("Link no longer valid"), text=text), 404
    if request.method == "GET":
        return render_template("tokens/owner.html", form=Form(), token=link.token)
    session[LINK_KEY] = key
    try:
        address = authorization_code.begin(link.token, by=f"owner link by {link.created_by}", browser=link, now=g.now)
    except PortalError as error:
        return render_template("error.html", title=_("Sign-in not possible"), text=str(error)), 400
    return render_template("tokens/leaving.html", address=address)


def told(token: Token) -> str:
    return token.owner or _("an account that the provider does not name")
