"""Sign-in, sign-out, and creation of the first admin."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal.access import rate_limit, users
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.models import Role
from portal.web import permissions
from portal.web.forms.users import LoginForm, SetupForm

bp = Blueprint("sessions", __name__)


@bp.route("/login", methods=["GET", "POST"])
@permissions.public
def login() -> str | Response | tuple[str, int]:
    target = permissions.local_path(request.values.get("next")) or url_for("home.index")
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = LoginForm(next=target)
    if not form.validate_on_submit():
        return render_template("sessions/login.html", form=form)
    try:
        permissions.sign_in(form.name.data, Secret(form.password.data))
    except Invalid as error:
        form.refuse(error)
        return render_template("sessions/login.html", form=form), 401
    except rate_limit.RateLimited as error:
        form.refuse(Invalid({"password": str(error)}))
        return render_template("sessions/login.html", form=form), 429
    return redirect(target, 303)


@bp.post("/logout")
@permissions.needs(Role.VIEWER)
def logout() -> Response:
    permissions.sign_out()
    flash("You are signed out.", "info")
    return redirect(url_for("sessions.login"), 303)


@bp.route("/setup/<key>", methods=["GET", "POST"])
@permissions.public
def setup(key: str) -> str | Response:
    if not users.is_setup_link_valid(key, now=g.now):
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
            permissions.sign_in_as(user)
            return redirect(url_for("home.index"), 303)
    return render_template("sessions/setup.html", form=form)
