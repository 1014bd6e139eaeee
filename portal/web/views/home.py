"""Home page: required actions and current state."""

from flask import Blueprint, g, render_template

from portal.models import MailAccount, TokenConfig
from portal.monitoring import dashboard, health, notices

bp = Blueprint("home", __name__)


@bp.get("/")
def index() -> str:
    accounts, well = dashboard.mail_accounts()
    tokens = dashboard.tokens(g.now)
    problems = notices.open_problems(g.now)
    return render_template(
        "home/index.html",
        problems=[one for one in problems if not one.is_acknowledged(g.now)],
        acknowledged=[one for one in problems if one.is_acknowledged(g.now)],
        configs=TokenConfig.select().count(),
        has_accounts=MailAccount.select().exists(),
        accounts=accounts,
        well=well,
        tokens=tokens,
        retrying=dashboard.retrying(tokens),
        bars=dashboard.mail_per_hour(g.now),
        marks=dashboard.expiries(g.now),
        ahead=dashboard.AHEAD,
        parts=dashboard.parts(g.now),
        backlog=health.backlog(g.now),
    )
