"""The list of mail accounts, with a constant number of queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.paging import Asked, Listing, Page, in_any
from portal.core.token_state import State
from portal.incoming import mail_accounts
from portal.models import Destination, MailAccount, Token, TokenConfig, Validity
from portal.tokens import overview as token_overview


@dataclass(frozen=True)
class Line:
    account: MailAccount
    state: State


def page(asked: Asked, now: datetime) -> Page[Line]:
    return listing(now).page(rows(), asked).of(lambda row: Line(row, mail_accounts.state(row, now)))


def rows() -> Any:
    found = MailAccount.select(MailAccount, Token, TokenConfig, Destination).join(Destination)
    return found.switch(MailAccount).left_outer_join(Token).left_outer_join(TokenConfig)


def listing(now: datetime) -> Listing:
    return Listing(
        finds=in_any(MailAccount.name, MailAccount.login, MailAccount.host, Destination.name),
        sorts={
            "name": MailAccount.name,
            "login": MailAccount.login,
            "fetched": MailAccount.fetched_at,
            "next": MailAccount.due_at,
            "destination": Destination.name,
        },
        states=conditions(now),
    )


def conditions(now: datetime) -> dict[str, Any]:
    """The states of ``work_state.mail_account`` as conditions of a query, in the same order."""
    return {
        "running": MailAccount.leased_until > now,
        "paused": MailAccount.validity == Validity.INVALID_TEMPORARILY,
        "invalid": MailAccount.validity != Validity.VALID,
        "waiting": MailAccount.token.is_null(False) & token_overview.suspended(now),
        "failing": MailAccount.failing_since.is_null(False),
        "not fetched yet": MailAccount.fetched_at.is_null(),
        "fetched": True,
    }
