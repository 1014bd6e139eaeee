"""Token configurations and their tokens."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import access, providers, refreshing, settings, signing_in, status, token_configs, token_facts
from portal.errors import Invalid, NotFound, PortalError
from portal.forms.token_configs import TokenConfigForm
from portal.models import Role, SignIn, Token, TokenConfig
from portal.providers import Template

bp = Blueprint("tokens", __name__, url_prefix="/tokens")


@bp.get("")
def index() -> str:
    margin = settings.refresh_margin()
    tokens = Token.select(Token, TokenConfig).join(TokenConfig).order_by(TokenConfig.name, Token.id)
    rows = [
        (token, status.access_token(facts, g.now), status.refresh_token(facts, g.now))
        for token in tokens
        for facts in [token_facts.of(token, margin)]
    ]
    return render_template("tokens/index.html", rows=rows, templates=providers.offered(), broken=providers.broken())


@bp.route("/new", methods=["GET", "POST"])
@access.needs(Role.ADMIN)
def new() -> str | Response:
    template = providers.find(request.args.get("template", ""))
    form = TokenConfigForm()
    if form.validate_on_submit():
        try:
            config = token_configs.add(template, form.entered(), form.secret(), actor=access.actor(), now=g.now)
        except Invalid as error:
            form.refuse(error)
        else:
            flash(f"{config.name} is added. Request a token to sign its mailbox in.", "success")
            return _after_save(config)
    elif not form.is_submitted():
        form.offer(template)
    return _form_page(form, template, None)


@bp.route("/<int:config_id>", methods=["GET", "POST"])
@access.needs(Role.ADMIN)
def edit(config_id: int) -> str | Response:
    config = _config(config_id)
    form = TokenConfigForm()
    if form.validate_on_submit():
        try:
            token_configs.edit(config, form.entered(), form.secret(), actor=access.actor(), now=g.now)
        except Invalid as error:
            form.refuse(error)
        else:
            flash(f"{config.name} is saved.", "success")
            return _after_save(config)
    elif not form.is_submitted():
        form.show(config)
    return _form_page(form, providers.of(config.template), config)


def _after_save(config: TokenConfig) -> Response:
    """Znuny's two buttons: Save stays on the page, Save and finish goes back to the overview."""
    stay = "finish" not in request.form
    return redirect(url_for("tokens.edit", config_id=config.id) if stay else url_for("tokens.index"), 303)


def _form_page(form: TokenConfigForm, template: Template, config: TokenConfig | None) -> str:
    return render_template(
        "tokens/form.html",
        form=form,
        template=template,
        config=config,
        tokens=_tokens_of(config) if config else [],
        used_by=token_configs.used_by(config) if config else [],
        redirect_uri=settings.redirect_uri(),
        redirect_warnings=settings.redirect_uri_warnings(request.host_url.rstrip("/")),
    )


def _tokens_of(config: TokenConfig) -> list[tuple[Token, status.State, status.State, SignIn | None]]:
    margin = settings.refresh_margin()
    found = []
    for token in token_configs.tokens_of(config):
        facts = token_facts.of(token, margin)
        last: SignIn | None = SignIn.select().where(SignIn.token == token.id).order_by(SignIn.id.desc()).first()
        found.append((token, status.access_token(facts, g.now), status.refresh_token(facts, g.now), last))
    return found


@bp.post("/<int:config_id>/delete")
@access.needs(Role.ADMIN)
def delete(config_id: int) -> Response:
    config = _config(config_id)
    try:
        token_configs.delete(config, actor=access.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("tokens.edit", config_id=config.id), 303)
    flash(f"{config.name} is deleted.", "success")
    return redirect(url_for("tokens.index"), 303)


@bp.post("/token/<int:token_id>/request")
@access.needs(Role.OPERATOR)
def request_new(token_id: int) -> str | Response:
    """Leave for the provider's sign-in page.

    By a page of our own: browsers hold every redirect that follows a form to the policy's form-action, and providers
    redirect to hosts that nobody can name beforehand.
    """
    token = _token(token_id)
    me = access.me()
    try:
        address = signing_in.begin(token, by=me.name, login_session=me.session, now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(_back(token), 303)
    return render_template("tokens/leaving.html", address=address)


@bp.post("/token/<int:token_id>/refresh")
@access.needs(Role.OPERATOR)
def refresh(token_id: int) -> Response:
    token = _token(token_id)
    try:
        renewed = refreshing.refresh(token.id, actor=access.actor(), now=g.now)
    except PortalError as error:
        flash(f"{token.name} was not renewed: {error}", "error")
    else:
        flash(
            f"{token.name} is renewed."
            if renewed
            else f"{token.name} has nothing to be renewed with, or is being renewed.",
            "info",
        )
    return redirect(_back(token), 303)


@bp.post("/token/<int:token_id>/forget")
@access.needs(Role.ADMIN)
def forget(token_id: int) -> Response:
    token = _token(token_id)
    try:
        refreshing.forget(token, actor=access.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
    else:
        flash("The token is forgotten. Request a new one to go on.", "success")
    return redirect(url_for("tokens.edit", config_id=token.token_config.id), 303)


def _back(token: Token) -> str:
    if access.me().may(Role.ADMIN):
        return url_for("tokens.edit", config_id=token.token_config.id)
    return url_for("tokens.index")


def _config(config_id: int) -> TokenConfig:
    config: TokenConfig | None = TokenConfig.get_or_none(TokenConfig.id == config_id)
    if config is None:
        raise NotFound("There is no such token configuration; it may have been deleted.")
    return config


def _token(token_id: int) -> Token:
    token: Token | None = Token.get_or_none(Token.id == token_id)
    if token is None:
        raise NotFound("There is no such token; it may have been deleted.")
    return token
