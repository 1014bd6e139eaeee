"""Portal-wide settings."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.core.errors import Invalid, PortalError
from portal.core.language import _
from portal.models import Role
from portal.monitoring import notifier
from portal.system import redirect_uri, settings
from portal.system.setting_groups import GROUPS
from portal.web import permissions
from portal.web.forms import Form

bp = Blueprint("settings", __name__, url_prefix="/settings")


@bp.route("", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed_for_changes
def index() -> str | Response:
    form, values, problems = Form(), settings.everything(), {}
    if form.validate_on_submit():
        values = {name: request.form.get(name, values[name]) for name in values}
        try:
            settings.change(values, actor=permissions.actor(), now=g.now)
        except Invalid as error:
            problems = error.fields
        else:
            flash(_("The settings were saved."), "success")
            return redirect(url_for("settings.index"), 303)
    return render_template(
        "settings/index.html",
        form=form,
        groups=GROUPS,
        values=values,
        problems=problems,
        redirect_uri=redirect_uri.uri(),
        redirect_warnings=redirect_uri.warnings(request.host_url.rstrip("/")),
    )


@bp.post("/test-notice")
@permissions.needs(Role.ADMIN)
def send_test() -> Response:
    try:
        recipients = notifier.send_test(now=g.now)
    except PortalError as error:
        flash(_("The test notice was not sent: {error}", error=error), "error")
    else:
        flash(_("A test notice is on its way to {names}.", names=", ".join(recipients)), "success")
    return redirect(url_for("settings.index"), 303)
