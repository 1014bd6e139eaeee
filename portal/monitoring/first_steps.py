"""What is left to do until a new portal fetches mail and reports problems."""

from dataclasses import dataclass

from portal.core.language import _
from portal.models import Destination, MailAccount, NoticeChannel, Token, TokenConfig
from portal.system import settings
from portal.system.setting_definitions import KNOWN


@dataclass(frozen=True)
class FirstStep:
    """``endpoint``: the page on which it is done."""

    text: str
    endpoint: str
    is_done: bool


def first_steps() -> list[FirstStep]:
    """The steps in their order; empty if all are done."""
    is_notified = bool(settings.notice_recipients()) or NoticeChannel.select().exists()
    steps = [
        FirstStep(_("Enter the portal's address"), "settings.index", settings.get("FQDN") != KNOWN["FQDN"].default),
        FirstStep(_("Add a token configuration"), "tokens.index", TokenConfig.select().exists()),
        FirstStep(
            _("Sign a mailbox in"), "tokens.index", Token.select().where(Token.obtained_at.is_null(False)).exists()
        ),
        FirstStep(_("Add a destination"), "destinations.index", Destination.select().exists()),
        FirstStep(_("Add a mail account"), "mail_accounts.index", MailAccount.select().exists()),
        FirstStep(_("Enter who receives notices"), "settings.index", is_notified),
    ]
    return [] if all(step.is_done for step in steps) else steps
