"""Identity providers at which users sign in to the portal."""

from flask import Blueprint, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.access import identity_providers
from portal.core.errors import NotFound
from portal.core.language import _
from portal.models import IdentityProvider, Role
from portal.web import permissions
from portal.web.forms.identity_providers import IdentityProviderForm

bp = Blueprint("identity_providers", __name__, url_prefix="/users/identity-providers")


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def new() -> str | Response:
    form = IdentityProviderForm()
    if form.validate_on_submit():
        with form.refusing():
            row = identity_providers.add(form.entered(), form.typed_secret(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was added. Try it in a private window before you sign out.", name=row.name), "success")
            return redirect(url_for("users.index"), 303)
    return _page(form, None)


@bp.route("/<int:row_id>", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def edit(row_id: int) -> str | Response:
    row, form = _row(row_id), IdentityProviderForm()
    if form.validate_on_submit():
        with form.refusing():
            identity_providers.edit(row, form.entered(), form.typed_secret(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was saved.", name=row.name), "success")
            return redirect(url_for("users.index"), 303)
    elif not form.is_submitted():
        form.show(row)
    return _page(form, row)


@bp.post("/<int:row_id>/delete")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def delete(row_id: int) -> Response:
    row = _row(row_id)
    identity_providers.delete(row, actor=permissions.actor(), now=g.now)
    flash(_("{name} was deleted. Its users can no longer sign in.", name=row.name), "success")
    return redirect(url_for("users.index"), 303)


def _page(form: IdentityProviderForm, row: IdentityProvider | None) -> str:
    return render_template(
        "users/identity_provider.html", form=form, row=row, redirect_uri=identity_providers.redirect_uri()
    )


def _row(row_id: int) -> IdentityProvider:
    row: IdentityProvider | None = IdentityProvider.get_or_none(IdentityProvider.id == row_id)
    if row is None:
        raise NotFound(_("The identity provider was not found. It may have been deleted."))
    return row
