"""What can be diagnosed, by the kind of the row."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from portal.causes import Where
from portal.core.errors import Refused
from portal.diagnosis import destinations, mail, tokens
from portal.diagnosis.checks import Diagnosis, Fallen, Ladder
from portal.models import (
    Destination,
    DestinationType,
    MailAccount,
    OutboundProfile,
    Row,
    Token,
    TokenConfig,
    Validity,
    WebService,
)
from portal.system import audit

Clock = Callable[[], datetime]
#: By the word that stands in addresses.
KINDS: dict[str, type[Row]] = {
    "token-config": TokenConfig,
    "token": Token,
    "mail-account": MailAccount,
    "outbound": OutboundProfile,
    "web-service": WebService,
    "destination": Destination,
}


def of(row: Row, *, actor: str, clock: Clock) -> Diagnosis:
    """Climb until the top or the first red step. It may renew a token; else it changes nothing."""
    ladder = Ladder(clock())
    audit.about(row, actor, "diagnosed", "", ladder.now)
    with suppress(Fallen):
        _stop_if_switched_off(ladder, row)
        _LADDERS[type(row)](ladder, row, actor, clock)
    return Diagnosis(
        row.kind, str(getattr(row, "name", row.id)), ladder.now, ladder.steps, ladder.dialogue.lines, ladder.hints
    )


def _stop_if_switched_off(ladder: Ladder, row: Row) -> None:
    """What nobody tries is in no other trouble."""
    about = row.token_config if isinstance(row, Token) else row
    validity = getattr(about, "validity", Validity.VALID)
    if validity is not Validity.VALID:
        with ladder.step("It is switched on", Where.PORTAL):
            raise Refused(f"The {about.kind} {about.name!r} is set to {validity.value}.")  # type: ignore[attr-defined]


def _of_account(ladder: Ladder, row: MailAccount, actor: str, clock: Clock) -> None:
    """To the mailbox, and on to where its mail goes."""
    mail.of_account(ladder, row, actor, clock)
    _of_destination(ladder, row.destination, actor, clock)


def _of_destination(ladder: Ladder, row: Destination, actor: str, clock: Clock) -> None:
    """One that sends on or calls is as good as what it does that with."""
    destinations.takes_mail(ladder, row, actor, clock)
    if row.type is DestinationType.SMTP and row.outbound_profile:
        mail.of_profile(ladder, row.outbound_profile, actor, clock)
    if row.type is DestinationType.WEB_SERVICE and row.web_service:
        destinations.of_service(ladder, row.web_service, actor, clock)


_LADDERS: dict[type[Row], Callable[[Ladder, Any, str, Clock], None]] = {
    TokenConfig: tokens.of_config,
    Token: tokens.of_token,
    MailAccount: _of_account,
    OutboundProfile: mail.of_profile,
    WebService: destinations.of_service,
    Destination: _of_destination,
}
