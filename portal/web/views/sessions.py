"""Sign-in, sign-out, and creation of the first admin."""

from flask import Blueprint, abort, flash, g, make_response, redirect, render_template, request, session, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal.access import proxy_users, rate_limit, second_factors, single_sign_on, users
from portal.access.single_sign_on import Pending
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Invalid, PortalError, Refused
from portal.core.language import _
from portal.models import IdentityProvider, Role
from portal.web import permissions
from portal.web.forms.users import LoginForm, SetupForm

bp = Blueprint("sessions", __name__)
#: Key of the browser session: the sign-in that was begun at an identity provider.
_PENDING = "sign_in_at_provider"


@bp.route("/login", methods=["GET", "POST"])
@permissions.public
def login() -> str | Response | tuple[str, int]:
    target = permissions.local_path(request.values.get("next")) or url_for("home.index")
    if current_user.is_authenticated:
        return redirect(target, 303)
    form = LoginForm(next=target)
    if not form.validate_on_submit():
        return _login_page(form)
    try:
        user = permissions.check_password(form.name.data, Secret(form.password.data))
    except Invalid as error:
        form.refuse(error)
        return _login_page(form), 401
    except rate_limit.RateLimited as error:
        form.refuse(Invalid({"password": str(error)}))
        return _login_page(form), 429
    if second_factors.has_one(user):
        permissions.wait_for_factor(user, target)
        return redirect(url_for("second_factor.code"), 303)
    permissions.sign_in_as(user, "password")
    return redirect(target, 303)


def _login_page(form: LoginForm) -> str:
    providers = IdentityProvider.select().order_by(IdentityProvider.name)
    named = permissions.named_by_proxy()
    return render_template("sessions/login.html", form=form, providers=list(providers), proxy_user=named and named[0])


@bp.post("/login/proxy")
@permissions.public
def login_by_proxy() -> Response:
    """Sign in the user whom the reverse proxy names."""
    named = permissions.named_by_proxy()
    if named is None:
        abort(404)
    try:
        permissions.sign_in_as(proxy_users.sign_in(*named, now=g.now), "reverse proxy")
    except Refused as error:
        flash(_("Sign-in failed. {error}", error=error), "error")
        return redirect(url_for("sessions.login"), 303)
    return redirect(permissions.local_path(request.form.get("next")) or url_for("home.index"), 303)


@bp.post("/login/at/<int:row_id>")
@permissions.public
def login_at(row_id: int) -> str:
    """Begin a sign-in at an identity provider; through a page, as for mailboxes (sign_ins.begin)."""
    provider = IdentityProvider.get_or_none(IdentityProvider.id == row_id)
    if provider is None:
        abort(404)
    address, pending = single_sign_on.begin(provider, again=current_user.is_authenticated, now=g.now)
    target = permissions.local_path(request.form.get("next"))
    session[_PENDING] = {**pending.as_facts(), "next": target}
    return render_template("tokens/leaving.html", address=address)


@bp.get("/login/answer")
@permissions.public
def answer() -> Response:
    """The answer of an identity provider."""
    kept = session.pop(_PENDING, None)
    if kept is None:
        flash(_("The answer does not belong to a sign-in of this browser. Sign in again."), "error")
        return redirect(url_for("sessions.login"), 303)
    target = kept.pop("next")
    try:
        user = single_sign_on.complete(
            Pending(**kept), request.args.to_dict(), address=request.remote_addr or "", now=g.now
        )
    except ExternalError as error:
        flash(_("Sign-in failed. {error}", error=error), "error")
        return redirect(url_for("sessions.login"), 303)
    permissions.sign_in_as(user, f"identity provider {user.issuer}")
    return redirect(target or url_for("home.index"), 303)


@bp.post("/logout")
@permissions.needs(Role.VIEWER)
def logout() -> Response:
    elsewhere = single_sign_on.logout_address(permissions.me().session)
    permissions.sign_out()
    flash(_("You are signed out."), "info")
    if elsewhere:
        response: Response = make_response(render_template("tokens/leaving.html", address=elsewhere))
    else:
        response = redirect(url_for("sessions.login"), 303)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


@bp.route("/setup/<key>", methods=["GET", "POST"])
@permissions.public
def setup(key: str) -> str | Response | tuple[str, int]:
    if not users.is_setup_link_valid(key, now=g.now):
        text = _(
            "This set-up link was used, or has expired. Sign in. If there is no admin yet, start the portal again: it "
            "prints a new link."
        )
        return render_template("error.html", title=_("The link is no longer valid"), text=text), 404
    form = SetupForm()
    if form.validate_on_submit():
        try:
            user = users.use_setup_link(key, form.name.data, Secret(form.password.data), now=g.now)
        except Invalid as error:
            form.refuse(error)
        except PortalError as error:
            flash(str(error), "error")
        else:
            permissions.sign_in_as(user, "set-up link")
            return redirect(url_for("home.index"), 303)
    return render_template("sessions/setup.html", form=form)
