"""URLs of the pages where a problem is fixed: the page of the affected row, or the page named by the cause."""

from typing import Any

from flask import url_for
from flask_login import current_user

from portal.models import Message, OutboundMessage, Role, Row, Token
from portal.monitoring.problems import Problem

_PAGES = {
    "mail account": ("mail_accounts.show", "account_id"),
    "outbound profile": ("outbound.show", "row_id"),
    "web service": ("web_services.show", "row_id"),
}


def row_url(kind: str, row_id: int) -> str:
    """URL of a row's page; the overview for users who may not edit the row."""
    may_edit = current_user.may(Role.ADMIN)
    if kind == "token configuration":
        return url_for("tokens.edit" if may_edit else "tokens.details", config_id=row_id)
    if kind == "destination":
        return url_for("destinations.edit", row_id=row_id) if may_edit else url_for("destinations.index")
    if kind == "notice channel":
        return url_for("notice_channels.edit", row_id=row_id) if may_edit else url_for("notices.index")
    endpoint, argument = _PAGES[kind]
    named: dict[str, Any] = {argument: row_id}
    return url_for(endpoint, **named)


def row_page(row: Row) -> str:
    """URL of the page of any row that the search finds."""
    if isinstance(row, Message):
        return url_for("runs.show", run_id=row.run.id) if row.run else row_url("mail account", row.mail_account.id)
    if isinstance(row, OutboundMessage):
        return url_for("outbound_messages.show", row_id=row.id)
    if isinstance(row, Token):
        return row_url("token configuration", row.token_config.id)
    return row_url(row.kind, row.id)


def fix_url(banner: Problem) -> str:
    """URL of the page where the problem of a banner is fixed."""
    if banner.cause.page == "settings" and current_user.may(Role.ADMIN):
        return url_for("settings.index")
    if banner.cause.page == "quarantine" and banner.about_id:
        return url_for("quarantine.index")
    if banner.about_kind and banner.about_id:
        return row_url(banner.about_kind, banner.about_id)
    return url_for("status.index")
