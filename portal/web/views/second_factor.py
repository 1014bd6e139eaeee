"""The second step of a sign-in, and the confirmation that a user is present."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from portal.access import passkeys, proxy_users, second_factors, sessions
from portal.access.rate_limit import RateLimited
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Invalid
from portal.core.language import _
from portal.models import IdentityProvider, Passkey, Role, User
from portal.web import permissions
from portal.web.forms.users import CodeForm, ConfirmForm

bp = Blueprint("second_factor", __name__)
#: Key of the browser session: the challenge that a passkey must sign.
CHALLENGE = "passkey_challenge"


@bp.route("/login/code", methods=["GET", "POST"])
@permissions.public
def code() -> str | Response | tuple[str, int]:
    """Ask for a code or a passkey after the password was right."""
    awaited = permissions.waiting()
    if awaited is None:
        flash(_("The sign-in took longer than five minutes. Begin again."), "error")
        return redirect(url_for("sessions.login"), 303)
    user, target = awaited
    form = CodeForm()
    if not form.validate_on_submit():
        return _page(form, user)
    try:
        second_factors.check_code(user, form.code.data, now=g.now)
    except Invalid as error:
        form.refuse(error)
        return _page(form, user), 401
    except RateLimited as error:
        form.refuse(Invalid({"code": str(error)}))
        return _page(form, user), 429
    permissions.sign_in_as(user, "password and code")
    return redirect(target, 303)


def _page(form: CodeForm, user: User) -> str:
    return render_template("sessions/second_factor.html", form=form, request_json=_passkey_request(user))


def _passkey_request(user: User) -> str | None:
    """What the browser asks of a passkey; None: the user has none."""
    if not Passkey.select().where(Passkey.user == user).exists():
        return None
    asked = passkeys.request_sign_in(user, now=g.now)
    session[CHALLENGE] = asked.challenge
    return asked.options


@bp.post("/login/passkey")
@permissions.public
def passkey() -> Response:
    awaited = permissions.waiting()
    if awaited is None:
        return redirect(url_for("sessions.login"), 303)
    user, target = awaited
    if not _is_signed(user):
        return redirect(url_for("second_factor.code"), 303)
    permissions.sign_in_as(user, "password and passkey")
    return redirect(target, 303)


def _is_signed(user: User) -> bool:
    """Whether the posted response is of a passkey of the user; otherwise the page shows why not."""
    try:
        passkeys.check(user, request.form.get("response", ""), session.pop(CHALLENGE, ""), now=g.now)
    except ExternalError as error:
        flash(str(error), "error")
        return False
    return True


@bp.route("/confirm", methods=["GET", "POST"])
@permissions.needs(Role.VIEWER)
def confirm() -> str | Response | tuple[str, int]:
    """Ask for the password or a passkey again, before an action that needs it."""
    me, form = permissions.me(), ConfirmForm(next=request.args.get("next"))
    if not form.validate_on_submit():
        return _confirm_page(form)
    if not me.user.is_local:
        abort(400)
    try:
        present = Secret(form.present.data or "")
        sessions.check_present_password(me.user, present, address=request.remote_addr or "", now=g.now)
    except Invalid as error:
        form.refuse(error)
        return _confirm_page(form), 401
    except RateLimited as error:
        form.refuse(Invalid({"present": str(error)}))
        return _confirm_page(form), 429
    return _confirmed()


@bp.post("/confirm/passkey")
@permissions.needs(Role.VIEWER)
def confirm_by_passkey() -> Response:
    if not _is_signed(permissions.me().user):
        return redirect(url_for("second_factor.confirm", next=request.form.get("next")), 303)
    return _confirmed()


def _confirmed() -> Response:
    sessions.confirm(permissions.me().session, now=g.now)
    return redirect(permissions.local_path(request.form.get("next")) or url_for("home.index"), 303)


def _confirm_page(form: ConfirmForm) -> str:
    user = permissions.me().user
    provider = None if user.is_local else IdentityProvider.get_or_none(IdentityProvider.issuer == user.issuer)
    return render_template(
        "sessions/confirm.html",
        form=form,
        user=user,
        provider=provider,
        proxy_issuer=proxy_users.ISSUER,
        request_json=_passkey_request(user),
    )
