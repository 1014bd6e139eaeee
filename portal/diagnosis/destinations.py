"""Diagnosis checks of destinations and web services."""

import getpass
import shlex
from pathlib import Path

from portal.causes import Where
from portal.core.clock import Clock
from portal.core.errors import Refused
from portal.core.language import Text, _
from portal.diagnosis import network, tokens
from portal.diagnosis.checks import Checks
from portal.incoming import destinations
from portal.models import Destination, DestinationType, Validity, WebService
from portal.protocols import lmtp, maildir, probe, program
from portal.web_services import calls, web_services


def takes_mail(ladder: Checks, row: Destination, actor: str, clock: Clock) -> None:
    """Check that the destination would accept a message."""
    ladder.facts |= {"path": row.path, "user": getpass.getuser()}
    with ladder.step(_("Destination accepts mail"), Where.DESTINATION) as step:
        step.found = f"{row.name}: {row.goes_to}"
        if row.type is DestinationType.MAILDIR:
            maildir.try_writing(Path(row.path))
        elif row.type is DestinationType.LMTP:
            lmtp.try_recipient(destinations.store_of(row), row.recipient)
        elif row.type is DestinationType.COMMAND:
            program.check(shlex.split(row.command))
        else:
            through = row.outbound_profile or row.web_service
            assert through is not None
            # A suspended outbound profile queues messages; a suspended web service accepts none.
            if through.validity is Validity.INVALID or not (row.outbound_profile or through.is_valid):
                raise Refused(_("The {kind} {name!r} is set to invalid.", kind=Text(through.kind), name=through.name))


def of_service(ladder: Checks, service: WebService, actor: str, clock: Clock) -> None:
    """Check a web service up to an OPTIONS request, which changes nothing (RFC 9110 section 9.3.7)."""
    url = web_services.full_url(service)
    network.to_web_server(ladder, url, Where.HTTP, service.ca)
    token = None
    if service.token:
        token = tokens.fresh(ladder, service.token, min_life=calls.TOKEN_MIN_LIFE, actor=actor, clock=clock)
    with ladder.step(_("Response to OPTIONS request"), Where.HTTP) as step:
        wanted = calls.probe_request(service, token.access_token if token else None)
        answer = probe.web_answer(wanted, ca=service.ca)
        # Many servers do not support OPTIONS, so any status shows that the server responds.
        step.found = f"HTTP {answer.status}"
        if answer.status in (407, 429):
            raise Refused(_("{name} answered {status}.", name=service.name, status=answer.status))
    if service.failing_since:
        with ladder.step(_("Latest call"), Where.HTTP):
            raise Refused(service.failure or "")
