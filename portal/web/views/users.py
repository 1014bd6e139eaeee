"""Users of the portal."""

from flask import Blueprint, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.access import operator_limits, overview, second_factors, users
from portal.core.encryption import Secret
from portal.core.errors import NotFound, PortalError
from portal.core.language import _
from portal.models import IdentityProvider, Role, TokenConfig, User
from portal.web import lists, permissions
from portal.web.forms.users import OperatorForm, PasswordForm, UserForm

bp = Blueprint("users", __name__, url_prefix="/users")


@bp.get("")
@permissions.needs(Role.AUDITOR)
def index() -> str:
    return render_template(
        "users/index.html",
        shown=overview.users(lists.asked(overview.user_states())),
        providers=list(IdentityProvider.select().order_by(IdentityProvider.name)),
    )


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def new() -> str | Response:
    form = UserForm()
    if form.validate_on_submit():
        with form.refusing():
            user = users.add(
                form.name.data, Role(form.role.data), Secret(form.password.data), actor=permissions.actor(), now=g.now
            )
            flash(_("{name} was added.", name=user.name), "success")
            return redirect(url_for("users.index"), 303)
    return render_template("users/form.html", form=form, user=None)


@bp.route("/<int:user_id>/password", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def password(user_id: int) -> str | Response:
    user = _user(user_id)
    form = PasswordForm()
    if form.validate_on_submit():
        with form.refusing():
            users.set_password(user, Secret(form.password.data), actor=permissions.actor(), now=g.now)
            flash(
                _("The password of {name} was changed. All sessions of {name} were ended.", name=user.name), "success"
            )
            return redirect(url_for("users.index"), 303)
    return render_template("users/form.html", form=form, user=user)


@bp.route("/<int:user_id>/configurations", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def configurations(user_id: int) -> str | Response:
    """Limit an operator to named token configurations."""
    user, form = _user(user_id), OperatorForm()
    form.offer(list(TokenConfig.select().order_by(TokenConfig.name)))
    if form.validate_on_submit():
        operator_limits.limit(user, form.chosen(), actor=permissions.actor(), now=g.now)
        flash(_("The rights of {name} were changed.", name=user.name), "success")
        return redirect(url_for("users.index"), 303)
    form.configs.data = [str(config.id) for config in operator_limits.configs_of(user)]
    return render_template("users/configurations.html", form=form, user=user)


@bp.post("/<int:user_id>/disable")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def disable(user_id: int) -> Response:
    user = _user(user_id)
    try:
        users.disable(user, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
    else:
        flash(_("{name} was disabled and can no longer sign in.", name=user.name), "success")
    return redirect(url_for("users.index"), 303)


@bp.post("/<int:user_id>/reset-factors")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def reset_factors(user_id: int) -> Response:
    user = _user(user_id)
    second_factors.reset(user, actor=permissions.actor(), now=g.now)
    flash(_("The second factors of {name} were removed. {name} signs in with the password.", name=user.name), "success")
    return redirect(url_for("users.index"), 303)


def _user(user_id: int) -> User:
    user: User | None = User.get_or_none(User.id == user_id)
    if user is None:
        raise NotFound(_("The user was not found."))
    return user
