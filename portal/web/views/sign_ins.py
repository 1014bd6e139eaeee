"""Signing a mailbox in: in this browser, by pasting the answer, by device code, by a link for its owner."""

import segno
from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from portal.core.errors import NotFound, OutsideError, PortalError
from portal.models import DeviceSignIn, Flow, Role, Token
from portal.tokens.sign_in import authorization_code, device_code, owner_links
from portal.web import permissions
from portal.web.forms import Form
from portal.web.views.tokens import back_to, find_token

bp = Blueprint("sign_ins", __name__)
#: Where the browser of a mailbox owner keeps the key of the link it was sent.
LINK_KEY = "owner_link"


@bp.post("/tokens/token/<int:token_id>/request")
@permissions.needs(Role.OPERATOR)
def begin(token_id: int) -> str | Response:
    """Leave for the provider's sign-in page.

    By a page of our own: browsers hold every redirect that follows a form to the policy's form-action, and providers
    redirect to hosts that nobody can name beforehand.
    """
    token, me = find_token(token_id), permissions.me()
    if token.token_config.flow is Flow.CLIENT_CREDENTIALS:
        return redirect(url_for("tokens.refresh", token_id=token.id), 307)
    try:
        address = authorization_code.begin(
            token, by=me.name, browser=me.session, now=g.now, replace_owner="replace" in request.form
        )
    except PortalError as error:
        flash(str(error), "error")
        return redirect(back_to(token), 303)
    return render_template("tokens/leaving.html", address=address)


@bp.route("/tokens/token/<int:token_id>/paste", methods=["GET", "POST"])
@permissions.needs(Role.OPERATOR)
def paste(token_id: int) -> str | Response:
    """For a machine whose browser cannot come back: the address that it was sent to is pasted here."""
    token, me = find_token(token_id), permissions.me()
    if request.method == "GET":
        try:
            address = authorization_code.begin(token, by=me.name, browser=me.session, now=g.now)
        except PortalError as error:
            flash(str(error), "error")
            return redirect(back_to(token), 303)
        return render_template("tokens/paste.html", form=Form(), token=token, address=address)
    try:
        parameters = authorization_code.answer_parameters(request.form.get("answer", ""))
        signed_in = authorization_code.complete(parameters, by=me.name, user=me.user, browser=me.session, now=g.now)
    except OutsideError as error:
        flash(f"The sign-in came to nothing. {error}", "error")
        return redirect(url_for("sign_ins.paste", token_id=token.id), 303)
    flash(f"Signed in as {signed_in.owner or 'an account that the provider does not name'}.", "success")
    return redirect(back_to(token), 303)


@bp.post("/tokens/token/<int:token_id>/device")
@permissions.needs(Role.OPERATOR)
def begin_device(token_id: int) -> Response:
    token = find_token(token_id)
    try:
        row = device_code.begin(token, by=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(f"The provider gave no code. {error}", "error")
        return redirect(back_to(token), 303)
    return redirect(url_for("sign_ins.device", row_id=row.id), 303)


@bp.get("/tokens/device/<int:row_id>")
@permissions.needs(Role.OPERATOR)
def device(row_id: int) -> str | Response:
    """The code, as text and as a picture, until it is decided."""
    row: DeviceSignIn | None = DeviceSignIn.get_or_none(DeviceSignIn.id == row_id)
    if row is None:
        raise NotFound("There is no such sign-in.")
    if row.ended_at:
        flash(f"The sign-in came to nothing. {row.failure}" if row.failure else f"Signed in as {row.token.owner}.",
              "error" if row.failure else "success")  # fmt: skip
        return redirect(back_to(row.token), 303)
    return render_template(
        "tokens/device.html", row=row, picture=_qr(row.verification_uri_complete or row.verification_uri)
    )


def _qr(text: str) -> Markup:
    # Drawn by the library from numbers; nothing of the text is in it.
    return Markup(segno.make(text).svg_inline(scale=5, border=2, svgclass="qr", lineclass=None, omitsize=True))  # noqa: S704


@bp.post("/tokens/token/<int:token_id>/owner-link")
@permissions.needs(Role.OPERATOR)
def make_link(token_id: int) -> str:
    """A link for the mailbox owner; it is shown this once."""
    token = find_token(token_id)
    key = owner_links.create(token, actor=permissions.actor(), now=g.now)
    address = url_for("sign_ins.owner", key=key.reveal(), _external=True)
    return render_template("tokens/owner_link.html", token=token, address=address)


@bp.route("/sign-in/<key>", methods=["GET", "POST"])
@permissions.public
def owner(key: str) -> str | tuple[str, int]:
    """What the mailbox owner sees: which sign-in it is, and one button."""
    link = owner_links.find(key, now=g.now)
    if link is None:
        owner_links.reject(request.remote_addr or "", now=g.now)
        text = "It was used already, or is older than a day. Ask for a new one."
        return render_template("error.html", title="This link has ended", text=text), 404
    if request.method == "GET":
        return render_template("tokens/owner.html", form=Form(), token=link.token)
    session[LINK_KEY] = key
    try:
        address = authorization_code.begin(link.token, by=f"owner link by {link.created_by}", browser=link, now=g.now)
    except PortalError as error:
        return render_template("error.html", title="It cannot be done now", text=str(error)), 400
    return render_template("tokens/leaving.html", address=address)


def told(token: Token) -> str:
    return token.owner or "an account that the provider does not name"
