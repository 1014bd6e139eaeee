"""Export and import of token configurations."""

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal.core.encryption import Secret
from portal.core.errors import NotFound, PortalError, Refused
from portal.core.language import _, _n
from portal.models import ExportRequest, ImportDraft, Role, TokenConfig
from portal.tokens import export_approval, import_export
from portal.web import permissions
from portal.web.forms.token_configs import ExportForm, ImportForm

bp = Blueprint("transfer", __name__, url_prefix="/tokens/transfer")


@bp.get("")
@permissions.needs(Role.ADMIN)
def index() -> str:
    names = [row.name for row in TokenConfig.select(TokenConfig.name).order_by(TokenConfig.name)]
    return render_template(
        "transfer/index.html",
        export_form=_export_form(names),
        import_form=ImportForm(),
        needs_approval=export_approval.is_needed(),
        requests=export_approval.pending(g.now),
    )


def _export_form(names: list[str]) -> ExportForm:
    form = ExportForm()
    form.offer(names)
    return form


@bp.post("/export")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def export() -> AnyResponse:
    """Download token configurations as YAML. A POST, because the file may contain secrets."""
    form = ExportForm()
    names = [form.name.data] if form.name.data else None
    passphrase = Secret(form.passphrase.data) if form.passphrase.data else None
    plain = "secrets" in request.form and passphrase is None
    if (plain or passphrase) and export_approval.is_needed():
        try:
            export_approval.use(permissions.me().user, now=g.now)
        except Refused as error:
            flash(str(error), "error")
            return redirect(url_for("transfer.index"), 303)
    text = import_export.export(names, secrets=plain, passphrase=passphrase, actor=permissions.actor(), now=g.now)
    name = f"token-configurations-{g.now:%Y%m%d-%H%M%S}.yml"
    headers = {"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "no-store"}
    return Response(text, mimetype="application/yaml", headers=headers)


@bp.post("/request")
@permissions.needs(Role.ADMIN)
def request_export() -> AnyResponse:
    export_approval.request(permissions.me().user, now=g.now)
    flash(_("The export was requested. Another admin approves it on this page within an hour."), "success")
    return redirect(url_for("transfer.index"), 303)


@bp.post("/approve/<int:row_id>")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def approve_export(row_id: int) -> AnyResponse:
    row: ExportRequest | None = ExportRequest.get_or_none(ExportRequest.id == row_id)
    if row is None:
        raise NotFound(_("The request was not found. It was used or replaced."))
    try:
        export_approval.approve(row, permissions.me().user, now=g.now)
        flash(_("{name} can export the secrets once within an hour.", name=row.requested_by.name), "success")
    except Refused as error:
        flash(str(error), "error")
    return redirect(url_for("transfer.index"), 303)


@bp.post("/import")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def check() -> str | AnyResponse:
    """Dry run: show what the import would change. The file is stored encrypted until the import is applied."""
    form = ImportForm()
    if not form.validate_on_submit() or not form.file.data:
        flash(_("Choose a file."), "error")
        return redirect(url_for("transfer.index"), 303)
    raw, typed = form.file.data.read(), form.passphrase.data
    passphrase = Secret(typed) if typed else None
    try:
        steps = import_export.plan(raw, overwrite=form.overwrite.data, passphrase=passphrase)
    except PortalError as error:
        flash(_("The file cannot be imported. {error}", error=error), "error")
        return redirect(url_for("transfer.index"), 303)
    draft = import_export.keep_draft(permissions.me().session, raw, passphrase, form.overwrite.data, now=g.now)
    return render_template("transfer/plan.html", steps=steps, draft=draft, form=form)


@bp.post("/import/<int:draft_id>/apply")
@permissions.needs(Role.ADMIN)
def apply(draft_id: int) -> AnyResponse:
    me = permissions.me()
    draft = ImportDraft.get_or_none(ImportDraft.id == draft_id, ImportDraft.login_session == me.session.id)
    if draft is None:
        flash(_("This import was already applied, or belongs to another session. Choose the file again."), "error")
        return redirect(url_for("transfer.index"), 303)
    try:
        owners = dict(zip(request.form.getlist("name"), request.form.getlist("owner"), strict=False))
        done = import_export.apply_draft(draft, owners=owners, actor=me.name, now=g.now)
    except PortalError as error:
        flash(_("Nothing was imported. {error}", error=error), "error")
    else:
        flash(_n("{count} token configuration imported.", "{count} token configurations imported.", done), "success")
    return redirect(url_for("tokens.index"), 303)
