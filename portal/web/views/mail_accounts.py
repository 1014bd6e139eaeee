"""Mail accounts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.core.errors import ExternalError, Invalid, NotFound, PortalError, Refused
from portal.core.language import Text, _, _n
from portal.incoming import connection_test, mail_accounts, overview, progress, proposals, quarantine, run_search
from portal.incoming.proposals import Proposal
from portal.incoming.run_search import Wanted
from portal.models import Destination, MailAccount, Message, Role, Run, Token, TokenConfig, Validity
from portal.web import lists, many, permissions
from portal.web.forms.mail import MailAccountForm
from portal.web.many import Action

bp = Blueprint("mail_accounts", __name__, url_prefix="/mail-accounts")
_SHOWN = 20
_MANY = {
    "fetch": Action(_("Fetch now"), mail_accounts.fetch_now, ended_by_workers=True),
    "pause": Action(_("Pause"), mail_accounts.pause),
    "resume": Action(_("Resume"), mail_accounts.resume),
    "valid": Action(_("Set to valid"), partial(mail_accounts.set_validity, validity=Validity.VALID), Role.ADMIN),
    "invalid": Action(_("Set to invalid"), partial(mail_accounts.set_validity, validity=Validity.INVALID), Role.ADMIN),
    "delete": Action(
        _("Delete"),
        mail_accounts.delete,
        Role.ADMIN,
        _(
            "Delete the selected mail accounts ({count}) with their logs? Delivered messages and mail on the servers "
            "are kept."
        ),
    ),
}
_PLOTTED = timedelta(days=1)


@bp.get("")
def index() -> str:
    return render_template(
        "mail_accounts/index.html",
        shown=overview.page(lists.asked(overview.conditions(g.now)), g.now),
        actions=many.offered(_MANY),
        destinations=Destination.select().count(),
        quarantined=quarantine.count(),
    )


@bp.post("/many")
@permissions.needs(Role.OPERATOR)
def act_on_many() -> str:
    return many.answer(_MANY, overview.listing(g.now), overview.rows(), "mail_accounts.index")


@bp.post("/many/progress")
@permissions.needs(Role.OPERATOR)
def progress_of_many() -> str:
    return many.progress(MailAccount, "mail_accounts.index")


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def new() -> str | Response:
    form = _form()
    if form.validate_on_submit():
        if _tries_out(form, None):
            return _form_page(form, None)
        with form.refusing():
            account = mail_accounts.add(_entered(form), form.typed_password(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was added and is being fetched.", name=account.name), "success")
            return redirect(url_for("mail_accounts.index"), 303)
    return _form_page(form, None)


@bp.post("/propose")
@permissions.needs(Role.ADMIN)
def propose() -> str | Response:
    """The form for a new account, filled in from the address of the mailbox."""
    try:
        proposal = proposals.of(request.form.get("address", "").strip())
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("mail_accounts.new"), 303)
    form = _form()
    form.propose(proposal)
    return _form_page(form, None, proposal)


@bp.get("/<int:account_id>")
def show(account_id: int) -> str:
    account = _account(account_id)
    messages = Message.select().where(Message.mail_account == account.id).order_by(Message.id.desc()).limit(_SHOWN)
    runs = Run.select().where(Run.mail_account == account.id).order_by(Run.id.desc()).limit(_SHOWN)
    state, going = mail_accounts.state(account, g.now), mail_accounts.going(account)
    wanted = Wanted(g.now - _PLOTTED, account.id)
    return render_template(
        "mail_accounts/show.html",
        account=account,
        state_now=state,
        messages=messages,
        runs=runs,
        going=going,
        progress=going and progress.of(going, g.now),
        bars=run_search.bars(wanted, g.now),
    )


@bp.route("/<int:account_id>/edit", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def edit(account_id: int) -> str | Response:
    account = _account(account_id)
    form = _form()
    del form.new_maildir
    if form.validate_on_submit():
        if _tries_out(form, account):
            return _form_page(form, account)
        with form.refusing():
            mail_accounts.edit(account, _entered(form), form.typed_password(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was saved.", name=account.name), "success")
            return redirect(url_for("mail_accounts.show", account_id=account.id), 303)
    elif not form.is_submitted():
        form.show(account)
    return _form_page(form, account)


@bp.post("/<int:account_id>/fetch")
@permissions.needs(Role.OPERATOR)
def fetch(account_id: int) -> Response:
    account = _account(account_id)
    try:
        mail_accounts.fetch_now(account, actor=permissions.actor(), now=g.now)
    except Refused as error:
        flash(str(error), "warning")
    else:
        flash(_("{name} is being fetched.", name=account.name), "info")
    return redirect(url_for("mail_accounts.show", account_id=account.id), 303)


@bp.post("/<int:account_id>/pause")
@permissions.needs(Role.OPERATOR)
def pause(account_id: int) -> Response:
    return _switched(account_id, mail_accounts.pause, _("{name} was paused. Its mail stays on the server."))


@bp.post("/<int:account_id>/resume")
@permissions.needs(Role.OPERATOR)
def resume(account_id: int) -> Response:
    return _switched(account_id, mail_accounts.resume, _("{name} was resumed."))


def _switched(account_id: int, switch: Callable[..., None], confirmation: str) -> Response:
    account = _account(account_id)
    try:
        switch(account, actor=permissions.actor(), now=g.now)
    except Invalid as error:
        flash(error.fields["validity"], "error")
    else:
        flash(Text(confirmation, name=account.name), "success")
    return redirect(url_for("mail_accounts.show", account_id=account.id), 303)


@bp.post("/<int:account_id>/delete")
@permissions.needs(Role.ADMIN)
def delete(account_id: int) -> Response:
    account = _account(account_id)
    mail_accounts.delete(account, actor=permissions.actor(), now=g.now)
    flash(_("{name} was deleted. Delivered messages are kept.", name=account.name), "success")
    return redirect(url_for("mail_accounts.index"), 303)


def _form_page(form: MailAccountForm, account: MailAccount | None, proposal: Proposal | None = None) -> str:
    return render_template("mail_accounts/form.html", form=form, account=account, proposal=proposal)


def _tries_out(form: MailAccountForm, account: MailAccount | None) -> bool:
    """Whether another button than Save was pressed, whose answer the form shows then."""
    if form.list_folders.data:
        _list_folders(form, account)
    elif form.test.data:
        _test_connection(form, account)
    return bool(form.list_folders.data or form.test.data)


def _test_connection(form: MailAccountForm, account: MailAccount | None) -> None:
    """Sign in with the entered values; nothing is stored."""
    with form.refusing():
        entered = _entered(form)
        password = form.typed_password() or (mail_accounts.stored_password(account, entered) if account else None)
        connection_test.run(
            entered, password, instead_of=account, actor=permissions.actor(), clock=lambda: datetime.now(UTC)
        )
        flash(
            _("The connection works: {login} was signed in at {host}.", login=entered.login, host=entered.host),
            "success",
        )
        _ask_password_again(form)


def _list_folders(form: MailAccountForm, account: MailAccount | None) -> None:
    """List the server's folders, using the entered values; nothing is stored."""
    try:
        entered = _entered(form)
        password = form.typed_password() or (mail_accounts.stored_password(account, entered) if account else None)
        found = mail_accounts.folders(entered, password, actor=permissions.actor(), clock=lambda: datetime.now(UTC))
    except Invalid as error:
        form.refuse(error)
    except ExternalError as error:
        form.folder.errors = [str(error)]
    else:
        form.folders = tuple(found)
        flash(
            _n(
                "Found {count} folder. Choose one in the field IMAP folder.",
                "Found {count} folders. Choose one in the field IMAP folder.",
                len(found),
            ),
            "info",
        )
        _ask_password_again(form)


def _ask_password_again(form: MailAccountForm) -> None:
    if form.typed_password():
        flash(_("Enter the password again before you save."), "info")


def _form() -> MailAccountForm:
    form = MailAccountForm()
    tokens = Token.select(Token, TokenConfig).join(TokenConfig).order_by(TokenConfig.name, Token.owner)
    form.offer(list(tokens), list(Destination.select().order_by(Destination.name)))
    return form


def _account(account_id: int) -> MailAccount:
    account: MailAccount | None = MailAccount.get_or_none(MailAccount.id == account_id)
    if account is None:
        raise NotFound(_("The mail account was not found. It may have been deleted."))
    return account


def _entered(form: MailAccountForm) -> mail_accounts.Fields:
    entered = form.entered()
    permissions.require_confirmation_for(entered.token, entered.host, "host")
    return entered
