"""Signing in and out of the portal, and the first admin."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal import access, guessing, users
from portal.errors import Invalid, PortalError
from portal.forms.people import LoginForm, SetupForm
from portal.models import Role
from portal.sealing import Secret

bp = Blueprint("sessions", __name__)


@bp.route("/login", methods=["GET", "POST"])
@access.public
def login() -> str | Response | tuple[str, int]:
    target = access.local_path(request.values.get("next")) or url_for("home.index")
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = LoginForm(next=target)
    if not form.validate_on_submit():
        return render_template("sessions/login.html", form=form)
    try:
        access.sign_in(form.name.data, Secret(form.password.data))
    except Invalid as error:
        form.refuse(error)
        return render_template("sessions/login.html", form=form), 401
    except guessing.Throttled as error:
        form.refuse(Invalid({"password": str(error)}))
        return render_template("sessions/login.html", form=form), 429
    return redirect(target, 303)


@bp.post("/logout")
@access.needs(Role.VIEWER)
def logout() -> Response:
    access.sign_out()
    flash("You are signed out.", "info")
    return redirect(url_for("sessions.login"), 303)


@bp.route("/setup/<key>", methods=["GET", "POST"])
@access.public
def setup(key: str) -> str | Response:
    if not users.setup_link_opens(key, now=g.now):
        abort(404)
    form = SetupForm()
    if form.validate_on_submit():
        try:
            user = users.use_setup_link(key, form.name.data, Secret(form.password.data), now=g.now)
        except Invalid as error:
            form.refuse(error)
        except PortalError as error:
            flash(str(error), "error")
        else:
            access.sign_in_as(user)
            return redirect(url_for("home.index"), 303)
    return render_template("sessions/setup.html", form=form)
