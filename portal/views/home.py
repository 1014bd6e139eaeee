"""What needs a person."""

from flask import Blueprint, g, render_template

from portal import mail_accounts
from portal.models import MailAccount, Message, TokenConfig

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    accounts = list(MailAccount.select().order_by(MailAccount.name))
    states = [(account, mail_accounts.state(account, g.now)) for account in accounts]
    return render_template(
        "home.html",
        states=[(account, state) for account, state in states if state.tone != "good"],
        accounts=len(accounts),
        good=sum(state.tone == "good" for _, state in states),
        configs=TokenConfig.select().count(),
        delivered=Message.select().where(Message.delivered_at.is_null(False)).count(),
    )
