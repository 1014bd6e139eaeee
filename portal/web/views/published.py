"""New token configurations from what a provider publishes: its endpoints, its registration, the DNS of an address."""

from flask import Blueprint, flash, g, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal import providers
from portal.core.encryption import Secret
from portal.core.errors import PortalError
from portal.core.language import _, joined
from portal.models import Role
from portal.tokens import client_registration, provider_lookup, token_configs
from portal.web import permissions
from portal.web.views.tokens import form_of, form_page

bp = Blueprint("published", __name__, url_prefix="/tokens")


@bp.post("/discover")
@permissions.needs(Role.ADMIN)
def discover() -> str:
    """The form for a new configuration with the endpoints of an issuer, and the other entries as they were."""
    template = providers.find(request.args.get("template", ""))
    form = form_of(template)
    form.offer(template)
    try:
        form.fill(token_configs.discovered(request.form.get("discover_issuer", "").strip()))
    except PortalError as error:
        flash(_("The endpoints were not found. {error}", error=error), "error")
    else:
        flash(_("The endpoints were filled in from the provider's discovery document."), "success")
    return form_page(form, template, None)


@bp.post("/register")
@permissions.needs(Role.ADMIN)
def register() -> AnyResponse:
    """Register the portal as a client at the issuer, and add the configuration."""
    template, token = providers.find(request.args.get("template", "")), request.form.get("initial_token", "").strip()
    try:
        config = client_registration.register(
            template, name=request.form.get("name", ""), issuer=request.form.get("issuer", "").strip(),
            initial_token=Secret(token) if token else None, actor=permissions.actor(), now=g.now,
        )  # fmt: skip
    except PortalError as error:
        flash(_("The portal was not registered. {error}", error=error), "error")
        return redirect(url_for("tokens.new", template=template.key), 303)
    flash(_("The portal was registered, and {name} was added.", name=config.name), "success")
    return redirect(url_for("tokens.edit", config_id=config.id), 303)


@bp.post("/find")
@permissions.needs(Role.ADMIN)
def find() -> str | AnyResponse:
    """The form for a new configuration for the provider of an address."""
    try:
        found = provider_lookup.by_address(request.form.get("address", "").strip())
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("tokens.index"), 303)
    form = form_of(found.template)
    form.offer(found.template)
    form.fill(found.endpoints)
    flash(joined([*found.how, _("The template is {name}.", name=found.template.name)]), "info")
    return form_page(form, found.template, None)
