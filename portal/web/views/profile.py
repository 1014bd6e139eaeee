"""The signed-in user's own page: password, second factors, sessions."""

import flask_babel
from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from portal.access import passkeys, second_factors, sessions, users
from portal.access.rate_limit import RateLimited
from portal.core.encryption import Secret
from portal.core.errors import Invalid, NotFound
from portal.core.language import _, _n
from portal.models import ApiKey, LoginSession, Passkey, RecoveryCode, Role
from portal.web import permissions, qr_codes
from portal.web.forms import Form
from portal.web.forms.users import CodeForm, DisplayForm, OwnPasswordForm
from portal.web.views.second_factor import CHALLENGE

bp = Blueprint("profile", __name__, url_prefix="/profile")


@bp.get("")
@permissions.needs(Role.VIEWER)
def index() -> str:
    me = permissions.me()
    own = LoginSession.select().where(LoginSession.user == me.user).order_by(LoginSession.seen_at.desc())
    return render_template(
        "profile/index.html",
        user=me.user,
        display_form=DisplayForm(formdata=None, obj=me.user),
        sessions=[row for row in own if not sessions.has_ended(row, g.now)],
        present=me.session,
        passkeys=list(Passkey.select().where(Passkey.user == me.user).order_by(Passkey.name)),
        passkeys_are_possible=passkeys.are_possible(),
        codes_left=RecoveryCode.select().where(RecoveryCode.user == me.user).count(),
        api_keys=list(ApiKey.select().where(ApiKey.created_by == me.name).order_by(ApiKey.name)),
    )


@bp.post("/display")
@permissions.needs(Role.VIEWER)
def set_display() -> Response:
    form = DisplayForm()
    if form.validate_on_submit():
        users.set_display(permissions.me().user, form.language.data, form.time_zone.data, now=g.now)
        flask_babel.refresh()
        flash(_("Language and time zone were saved."), "success")
    else:
        flash(_("Choose a language and a time zone from the lists."), "error")
    return redirect(url_for("profile.index"), 303)


@bp.route("/password", methods=["GET", "POST"])
@permissions.needs(Role.VIEWER)
def password() -> str | Response:
    form, me = OwnPasswordForm(), permissions.me()
    if form.validate_on_submit():
        try:
            with form.refusing():
                present, new = Secret(form.present.data), Secret(form.password.data)
                users.change_own_password(me.session, present, new, now=g.now)
                flash(_("The password was changed. Your other sessions were ended."), "success")
                return redirect(url_for("profile.index"), 303)
        except RateLimited as error:
            form.refuse(Invalid({"present": str(error)}))
    return render_template("profile/password.html", form=form)


@bp.post("/sessions/end")
@permissions.needs(Role.VIEWER)
def end_sessions() -> Response:
    count = sessions.sign_out_elsewhere(permissions.me().session, now=g.now)
    flash(_n("{count} other session ended.", "{count} other sessions ended.", count), "success")
    return redirect(url_for("profile.index"), 303)


@bp.post("/sessions/<int:row_id>/end")
@permissions.needs(Role.VIEWER)
def end_session(row_id: int) -> Response:
    row = LoginSession.get_or_none(LoginSession.id == row_id, LoginSession.user == permissions.me().user)
    if row is None:
        raise NotFound(_("The session was not found. It has ended."))
    sessions.end(row, actor=permissions.actor(), now=g.now)
    flash(_("The session was ended."), "success")
    return redirect(url_for("profile.index"), 303)


@bp.route("/app", methods=["GET", "POST"])
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def app() -> str | Response:
    """Connect an authenticator app. The secret was made by ``begin_app``, so that a reload shows the same one."""
    me, form = permissions.me(), CodeForm()
    if me.user.totp_confirmed_at or me.user.totp_secret is None:
        return redirect(url_for("profile.index"), 303)
    if form.validate_on_submit():
        with form.refusing():
            second_factors.confirm_app(me.user, form.code.data, now=g.now)
            return _added(_("The authenticator app was added."))
    address = second_factors.app_address(me.user)
    secret = Markup(" ").join(me.user.totp_secret.reveal()[at : at + 4] for at in range(0, 32, 4))
    return render_template("profile/app.html", form=form, picture=qr_codes.picture(address), secret=secret)


@bp.post("/app/new")
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def begin_app() -> Response:
    second_factors.begin_app(permissions.me().user)
    return redirect(url_for("profile.app"), 303)


@bp.post("/app/remove")
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def remove_app() -> Response:
    second_factors.remove_app(permissions.me().user, now=g.now)
    flash(_("The authenticator app was removed."), "success")
    return redirect(url_for("profile.index"), 303)


@bp.get("/passkeys/new")
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def new_passkey() -> str:
    asked = passkeys.request_new(permissions.me().user)
    session[CHALLENGE] = asked.challenge
    return render_template("profile/passkey.html", form=Form(), request_json=asked.options)


@bp.post("/passkeys/add")
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def add_passkey() -> str | Response:
    name, response = request.form.get("name", ""), request.form.get("response", "")
    try:
        row = passkeys.add(permissions.me().user, name, response, session.pop(CHALLENGE, ""), now=g.now)
    except Invalid as error:
        flash(str(error), "error")
        return redirect(url_for("profile.new_passkey"), 303)
    return _added(_("The passkey “{name}” was added.", name=row.name))


@bp.post("/passkeys/<int:row_id>/remove")
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def remove_passkey(row_id: int) -> Response:
    row = Passkey.get_or_none(Passkey.id == row_id, Passkey.user == permissions.me().user)
    if row is None:
        raise NotFound(_("The passkey was not found."))
    passkeys.remove(row, now=g.now)
    flash(_("The passkey “{name}” was removed.", name=row.name), "success")
    return redirect(url_for("profile.index"), 303)


@bp.post("/recovery-codes")
@permissions.needs(Role.VIEWER)
@permissions.confirmed
def recovery_codes() -> str:
    codes = second_factors.new_recovery_codes(permissions.me().user, now=g.now)
    return render_template("profile/recovery_codes.html", codes=codes)


def _added(text: str) -> str | Response:
    """Show the recovery codes that come with the first factor, or return to the profile."""
    flash(text, "success")
    codes = second_factors.first_recovery_codes(permissions.me().user, now=g.now)
    if codes:
        return render_template("profile/recovery_codes.html", codes=codes)
    return redirect(url_for("profile.index"), 303)
