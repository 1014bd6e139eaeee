"""Hosts to which the tokens of a mailbox are sent."""

from urllib.parse import urlsplit

from portal.core.errors import Invalid
from portal.core.language import _
from portal.models import MailAccount, OutboundProfile, Token, WebService


def require_confirmation(token: Token | None, host: str, field: str, *, is_confirmed: bool) -> None:
    """Raise Invalid for ``field`` if the token has not been sent to the host before and the user is not confirmed.

    A thief of an admin's session could otherwise have any token sent to a host of the thief.
    """
    if token is None or is_confirmed or host.lower() in _known(token):
        return
    text = _("The token has not been sent to this host before. Open /confirm in another tab, confirm, and save again.")
    raise Invalid({field: text})


def _known(token: Token) -> set[str]:
    servers = (
        row.host.lower()
        for model in (MailAccount, OutboundProfile)
        for row in model.select().where(model.token == token)
    )
    services = WebService.select().where(WebService.token == token)
    return {*servers, *(urlsplit(service.url).hostname or "" for service in services)}
