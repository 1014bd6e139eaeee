"""Users of the portal."""

from flask import Blueprint, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.access import users
from portal.core.encryption import Secret
from portal.core.errors import NotFound, PortalError
from portal.models import Role, User
from portal.web import permissions
from portal.web.forms.users import PasswordForm, UserForm

bp = Blueprint("users", __name__, url_prefix="/users")


@bp.get("")
@permissions.needs(Role.ADMIN)
def index() -> str:
    return render_template("users/index.html", rows=list(User.select().order_by(User.name)))


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def new() -> str | Response:
    form = UserForm()
    if form.validate_on_submit():
        with form.refusing():
            user = users.add(
                form.name.data, Role(form.role.data), Secret(form.password.data), actor=permissions.actor(), now=g.now
            )
            flash(f"{user.name} was added.", "success")
            return redirect(url_for("users.index"), 303)
    return render_template("users/form.html", form=form, user=None)


@bp.route("/<int:user_id>/password", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def password(user_id: int) -> str | Response:
    user = _user(user_id)
    form = PasswordForm()
    if form.validate_on_submit():
        with form.refusing():
            users.set_password(user, Secret(form.password.data), actor=permissions.actor(), now=g.now)
            flash(f"The password of {user.name} was changed. All sessions of {user.name} were ended.", "success")
            return redirect(url_for("users.index"), 303)
    return render_template("users/form.html", form=form, user=user)


@bp.post("/<int:user_id>/disable")
@permissions.needs(Role.ADMIN)
def disable(user_id: int) -> Response:
    user = _user(user_id)
    try:
        users.disable(user, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
    else:
        flash(f"{user.name} was disabled and can no longer sign in.", "success")
    return redirect(url_for("users.index"), 303)


def _user(user_id: int) -> User:
    user: User | None = User.get_or_none(User.id == user_id)
    if user is None:
        raise NotFound("The user was not found.")
    return user
