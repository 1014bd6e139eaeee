"""Entry point of the diagnosis, and the checks for each kind of row."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from portal.causes import Where
from portal.core.clock import Clock
from portal.core.errors import Refused
from portal.core.language import Text, _
from portal.diagnosis import destinations, mail, tokens
from portal.diagnosis.checks import CheckFailed, Checks, Diagnosis
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

#: Model of each kind, by its name in URLs.
KINDS: dict[str, type[Row]] = {
    "token-config": TokenConfig,
    "token": Token,
    "mail-account": MailAccount,
    "outbound": OutboundProfile,
    "web-service": WebService,
    "destination": Destination,
}


def of(row: Row, *, actor: str, clock: Clock) -> Diagnosis:
    """Run the checks of a row until the first failure. May refresh a token; otherwise changes nothing."""
    ladder = Checks(clock())
    audit.about(row, actor, "diagnosed", "", ladder.now)
    with suppress(CheckFailed):
        _stop_if_switched_off(ladder, row)
        _LADDERS[type(row)](ladder, row, actor, clock)
    return Diagnosis(
        row.kind, str(getattr(row, "name", row.id)), ladder.now, ladder.steps, ladder.dialogue.lines, ladder.hints
    )


def _stop_if_switched_off(ladder: Checks, row: Row) -> None:
    """Fail if the row or its configuration is set to invalid: no other check applies then."""
    about = row.token_config if isinstance(row, Token) else row
    validity = getattr(about, "validity", Validity.VALID)
    if validity is not Validity.VALID:
        with ladder.step(_("Validity"), Where.PORTAL):
            raise Refused(
                _(
                    "The {kind} “{name}” is set to {validity}.",
                    kind=Text(about.kind),
                    name=about.named,
                    validity=Text(validity.value),
                )
            )


def _of_account(ladder: Checks, row: MailAccount, actor: str, clock: Clock) -> None:
    """Check the mailbox, then its destination."""
    mail.of_account(ladder, row, actor, clock)
    _of_destination(ladder, row.destination, actor, clock)


def _of_destination(ladder: Checks, row: Destination, actor: str, clock: Clock) -> None:
    """Check a destination, then the outbound profile or web service that it uses."""
    destinations.takes_mail(ladder, row, actor, clock)
    if row.type is DestinationType.SMTP and row.outbound_profile:
        mail.of_profile(ladder, row.outbound_profile, actor, clock)
    if row.type is DestinationType.WEB_SERVICE and row.web_service:
        destinations.of_service(ladder, row.web_service, actor, clock)


_LADDERS: dict[type[Row], Callable[[Checks, Any, str, Clock], None]] = {
    TokenConfig: tokens.of_config,
    Token: tokens.of_token,
    MailAccount: _of_account,
    OutboundProfile: mail.of_profile,
    WebService: destinations.of_service,
    Destination: _of_destination,
}
