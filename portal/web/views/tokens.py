"""Token configurations, their secrets and certificates, and the overview of tokens."""

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal import providers
from portal.core import token_state
from portal.core.errors import Invalid, NotFound, PortalError
from portal.core.language import _
from portal.core.token_state import State
from portal.models import ClientSecret, Flow, OwnerLink, Role, SignIn, Token, TokenConfig
from portal.providers import Template
from portal.system import redirect_uri, settings
from portal.tokens import (
    certificate_renewal,
    certificates,
    config_fields,
    history,
    overview,
    refresh_queue,
    revocation,
    token_configs,
    token_facts,
)
from portal.tokens import refresh as refreshing
from portal.tokens.sign_in import admin_consent, authorization_code
from portal.web import lists, many, permissions
from portal.web.forms.token_configs import CertificateForm, TokenConfigForm
from portal.web.many import Action

bp = Blueprint("tokens", __name__, url_prefix="/tokens")
_MANY = {
    "refresh": Action(_("Refresh"), refresh_queue.request, ended_by_workers=True),
    "delete": Action(
        _("Delete"),
        token_configs.delete_token,
        Role.ADMIN,
        _("Delete the selected tokens ({count})? The provider is not notified. Tokens that are in use are kept."),
    ),
}


@bp.get("")
def index() -> str:
    return render_template(
        "tokens/index.html",
        shown=overview.page(lists.asked(overview.conditions(g.now)), g.now),
        actions=many.offered(_MANY),
        templates=providers.offered(),
        broken=providers.broken(),
        progress=refresh_queue.progress(g.now),
    )


@bp.post("/many")
@permissions.needs(Role.OPERATOR)
def act_on_many() -> str:
    return many.answer(_MANY, overview.listing(g.now), overview.rows(), "tokens.index")


@bp.post("/many/progress")
@permissions.needs(Role.OPERATOR)
def progress_of_many() -> str:
    return many.progress(Token, "tokens.index")


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def new() -> str | AnyResponse:
    template = providers.find(request.args.get("template", ""))
    preset = config_fields.from_template(template, name="", client_id="")
    form = form_of(template)
    if form.validate_on_submit():
        with form.refusing():
            config = token_configs.add(
                template, form.entered(preset), form.secret(g.now, None), actor=permissions.actor(), now=g.now
            )
            flash(_("{name} was added.", name=config.name), "success")
            return _after_save(config)
    elif not form.is_submitted():
        form.offer(template)
    return form_page(form, template, None)


def form_of(template: Template) -> TokenConfigForm:
    form = TokenConfigForm()
    form.fit(template, Flow(template.flow))
    return form


@bp.route("/<int:config_id>", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def edit(config_id: int) -> str | AnyResponse:
    config = find_config(config_id)
    form = TokenConfigForm()
    form.fit(providers.of(config.template), config.flow)
    if form.validate_on_submit():
        with form.refusing():
            token_configs.edit(
                config,
                form.entered(config),
                form.secret(g.now, config.client_secret),
                actor=permissions.actor(),
                now=g.now,
            )
            flash(_("{name} was saved.", name=config.name), "success")
            return _after_save(config)
    elif not form.is_submitted():
        form.show(config)
    return form_page(form, providers.of(config.template), config)


@bp.get("/<int:config_id>/details")
def details(config_id: int) -> str:
    config = find_config(config_id)
    tokens = token_configs.tokens_of(config)
    strips = history.strips([token.id for token in tokens], g.now.date())
    return render_template(
        "tokens/details.html",
        config=config,
        template=providers.of(config.template),
        app_only=not config.flow.has_sign_in,
        tokens=[_shown(token, strips[token.id]) for token in tokens],
        used_by=token_configs.used_by(config),
    )


def _after_save(config: TokenConfig) -> AnyResponse:
    """Znuny's two buttons: Save stays on the page, Save and finish goes back to the overview."""
    stay = "finish" not in request.form
    return redirect(url_for("tokens.edit", config_id=config.id) if stay else url_for("tokens.index"), 303)


def form_page(form: TokenConfigForm, template: Template, config: TokenConfig | None) -> str:
    tokens = token_configs.tokens_of(config) if config else []
    strips = history.strips([token.id for token in tokens], g.now.date())
    return render_template(
        "tokens/form.html",
        form=form,
        template=template,
        config=config,
        app_only=not Flow(template.flow).has_sign_in,
        adds_mailboxes=template.flow == Flow.JWT_BEARER,
        tokens=[_shown(token, strips[token.id]) for token in tokens],
        summary=history.summary(tokens, strips.values()) if tokens else None,
        secrets=_secrets(config),
        certificate=_certificate(config),
        certificate_form=CertificateForm(),
        used_by=token_configs.used_by(config) if config else [],
        redirect_uri=redirect_uri.uri(),
        authorize_url=authorization_code.preview(config) if config and config.authorize_url else "",
        consent_url=admin_consent.url(config) if config else "",
        redirect_warnings=redirect_uri.warnings(request.host_url.rstrip("/")),
        fixed_endpoints=bool(template.token_url) and "endpoints" not in request.args and not form.has_endpoint_errors,
    )


def _secrets(config: TokenConfig | None) -> list[tuple[ClientSecret, State]]:
    if config is None:
        return []
    warning = settings.secret_warning()
    return [
        (row, token_state.client_secret(row.ends_at, row.refused_at, warning, g.now)) for row in config.client_secrets
    ]


def _certificate(config: TokenConfig | None) -> dict[str, object] | None:
    if config is None or config.certificate is None:
        return None
    return {
        "thumbprint": certificates.thumbprint(config),
        "ends_at": certificates.ends_at(config),
        "renewal": certificate_renewal.described(config),
    }


def _shown(token: Token, strip: history.Strip) -> dict[str, object]:
    facts = token_facts.of(token, settings.refresh_margin())
    last: SignIn | None = SignIn.select().where(SignIn.token == token.id).order_by(SignIn.id.desc()).first()
    return {
        "token": token,
        "access": token_state.access_token(facts, g.now),
        "refresh": token_state.refresh_token(facts, g.now),
        "missing": token_state.missing_scopes(token.token_config.scope, token.granted_scope),
        "strip": strip,
        "last": last,
        "links": OwnerLink.select().where(OwnerLink.token == token.id, OwnerLink.used_at.is_null()).count(),
    }


@bp.post("/<int:config_id>/delete")
@permissions.needs(Role.ADMIN)
def delete(config_id: int) -> AnyResponse:
    config = find_config(config_id)
    try:
        token_configs.delete(config, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("tokens.edit", config_id=config.id), 303)
    flash(_("{name} was deleted.", name=config.name), "success")
    return redirect(url_for("tokens.index"), 303)


@bp.post("/<int:config_id>/secrets/<int:secret_id>/remove")
@permissions.needs(Role.ADMIN)
def remove_secret(config_id: int, secret_id: int) -> AnyResponse:
    config = find_config(config_id)
    token_configs.forget_secret(config, secret_id, actor=permissions.actor(), now=g.now)
    flash(_("The client secret was removed. The tokens are kept."), "success")
    return redirect(url_for("tokens.edit", config_id=config.id), 303)


@bp.post("/<int:config_id>/certificate/generate")
@permissions.needs(Role.ADMIN)
def generate_certificate(config_id: int) -> AnyResponse:
    config = find_config(config_id)
    certificates.generate(config, actor=permissions.actor(), now=g.now)
    flash(
        _(
            "Key and certificate were created. Upload the certificate at the provider, then select certificate as the "
            "client authentication."
        ),
        "success",
    )
    return redirect(url_for("tokens.edit", config_id=config.id), 303)


@bp.post("/<int:config_id>/certificate/upload")
@permissions.needs(Role.ADMIN)
def upload_certificate(config_id: int) -> AnyResponse:
    config = find_config(config_id)
    form = CertificateForm()
    try:
        certificates.upload(
            config, form.pem.data.read() if form.pem.data else b"", actor=permissions.actor(), now=g.now
        )
    except Invalid as error:
        flash(_("The certificate was rejected. {reason}", reason=error.fields["pem"]), "error")
    else:
        flash(_("The certificate and its key were stored; the key is encrypted."), "success")
    return redirect(url_for("tokens.edit", config_id=config.id), 303)


@bp.get("/<int:config_id>/certificate.pem")
@permissions.needs(Role.ADMIN)
def certificate(config_id: int) -> Response:
    """Download the certificate; the private key is never exported."""
    config = find_config(config_id)
    if config.certificate is None:
        raise NotFound(_("This token configuration has no certificate."))
    name = f"attachment; filename=portal-{config.id}.pem"
    return Response(config.certificate, mimetype="application/x-pem-file", headers={"Content-Disposition": name})


@bp.post("/<int:config_id>/add-token")
@permissions.needs(Role.ADMIN)
def add_token(config_id: int) -> AnyResponse:
    config = find_config(config_id)
    try:
        mailbox = request.form.get("mailbox", "")
        token_configs.add_token(config, mailbox=mailbox, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
    else:
        signs_in = config.flow.has_sign_in
        flash(_("Mailbox added. Sign it in with Request new token.") if signs_in else _("Mailbox added."), "success")
    return redirect(url_for("tokens.edit", config_id=config.id), 303)


@bp.post("/token/<int:token_id>/refresh")
@permissions.needs(Role.OPERATOR)
def refresh(token_id: int) -> AnyResponse:
    token = find_token(token_id)
    try:
        renewed = refreshing.refresh(token.id, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(_("Refresh of {name} failed: {error}", name=token.name, error=error), "error")
    else:
        outcome = (
            _("{name} was refreshed.", name=token.name)
            if renewed
            else _("{name} was not refreshed: a refresh is running, or none is possible.", name=token.name)
        )
        flash(outcome, "info")
    return redirect(back_to(token), 303)


def _act_on(token: Token, act: str, done: str) -> AnyResponse:
    verbs = {"forget": revocation.forget, "revoke": revocation.revoke, "delete": token_configs.delete_token}
    try:
        verbs[act](token, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
    else:
        flash(done, "success")
    return redirect(url_for("tokens.edit", config_id=token.token_config.id), 303)


@bp.post("/token/<int:token_id>/forget")
@permissions.needs(Role.ADMIN)
def forget(token_id: int) -> AnyResponse:
    return _act_on(find_token(token_id), "forget", _("The token was removed. Request a new token to continue."))


@bp.post("/token/<int:token_id>/revoke")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def revoke(token_id: int) -> AnyResponse:
    return _act_on(
        find_token(token_id), "revoke", _("The token was revoked at the provider and removed from the portal.")
    )


@bp.post("/token/<int:token_id>/delete")
@permissions.needs(Role.ADMIN)
def delete_token(token_id: int) -> AnyResponse:
    return _act_on(find_token(token_id), "delete", _("The token was deleted."))


def back_to(token: Token) -> str:
    """URL to continue at: the page that edits the token configuration for admins, that of its facts for others."""
    endpoint = "tokens.edit" if permissions.me().may(Role.ADMIN) else "tokens.details"
    return url_for(endpoint, config_id=token.token_config.id)


def find_config(config_id: int) -> TokenConfig:
    config: TokenConfig | None = TokenConfig.get_or_none(TokenConfig.id == config_id)
    if config is None:
        raise NotFound(_("The token configuration was not found. It may have been deleted."))
    return config


def find_token(token_id: int) -> Token:
    token: Token | None = Token.get_or_none(Token.id == token_id)
    if token is None:
        raise NotFound(_("The token was not found. It may have been deleted."))
    return token
