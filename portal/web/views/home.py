"""Home page: required actions and current state."""

from flask import Blueprint, g, render_template

from portal.models import MailAccount, Role, TokenConfig
from portal.monitoring import banner, dashboard, first_steps, health, notices
from portal.web import permissions

bp = Blueprint("home", __name__)
#: Causes that Home shows; the list of notices shows all.
_SHOWN = 8


@bp.get("/")
def index() -> str:
    accounts, _ = dashboard.mail_accounts()
    tokens = dashboard.tokens(g.now)
    problems = notices.open_problems(g.now)
    groups = banner.grouped([one for one in problems if not one.is_acknowledged(g.now)])
    return render_template(
        "home/index.html",
        first_steps=first_steps.first_steps() if permissions.me().may(Role.ADMIN) else [],
        groups=groups[:_SHOWN],
        more_groups=max(len(groups) - _SHOWN, 0),
        acknowledged=sum(one.is_acknowledged(g.now) for one in problems),
        configs=TokenConfig.select().count(),
        has_accounts=MailAccount.select().exists(),
        accounts=accounts,
        working_accounts=dashboard.working_accounts(g.now),
        tokens=tokens,
        retrying=dashboard.retrying(tokens),
        bars=dashboard.mail_per_hour(g.now),
        marks=dashboard.expiries(g.now),
        ahead=dashboard.AHEAD,
        parts=dashboard.parts(g.now),
        backlog=health.backlog(g.now),
    )
