"""What needs a person, and how it stands."""

from flask import Blueprint, g, render_template

from portal import health, home, notices
from portal.models import MailAccount, TokenConfig

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    accounts, well = home.mail_accounts()
    return render_template(
        "home/index.html",
        lasting=notices.lasting(g.now),
        configs=TokenConfig.select().count(),
        has_accounts=MailAccount.select().exists(),
        accounts=accounts,
        well=well,
        tokens=home.tokens(g.now),
        bars=home.mail_per_hour(g.now),
        marks=home.marks(g.now),
        ahead=home.AHEAD,
        parts=home.parts(g.now),
        backlog=health.backlog(g.now),
    )
