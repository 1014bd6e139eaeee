"""Detection of outbound profiles whose server is reachable and rejects every message."""

from datetime import datetime, timedelta

from peewee import fn

from portal import causes
from portal.causes import Where
from portal.core.language import _
from portal.models import OutboundMessage, OutboundProfile, OutboundState, Validity, tuples
from portal.monitoring.problems.problem import Problem, problem, within

#: This many rejections in a row within a day are not mistyped addresses.
_SEVERAL, _LATELY = 3, timedelta(days=1)


def of_profiles(now: datetime) -> list[Problem]:
    """Return the profiles that have sent nothing since the first of several rejections."""
    failed = (OutboundMessage.state == OutboundState.FAILED) & OutboundMessage.bounce_of.is_null()
    lately = failed & (OutboundMessage.settled_at >= now - _LATELY)
    facts = fn.COUNT(OutboundMessage.id), fn.MIN(OutboundMessage.settled_at), fn.MAX(OutboundMessage.answer)
    cause = fn.MAX(OutboundMessage.answer_cause)
    counted = (
        OutboundMessage.select(OutboundMessage.profile, *facts, cause).where(lately).group_by(OutboundMessage.profile)
    )
    found = {profile: rest for profile, count, *rest in tuples(counted) if count >= _SEVERAL}
    wanted = (OutboundProfile.validity == Validity.VALID) & OutboundProfile.failing_since.is_null()
    profiles = OutboundProfile.select().where(OutboundProfile.id.in_(list(found)), wanted) if found else []
    return [_problem(row, *found[row.id]) for row in profiles if row.sent_at is None or row.sent_at < found[row.id][0]]


def _problem(row: OutboundProfile, since: datetime, response: str | None, name: str | None) -> Problem:
    cause = causes.stored(name, response or "", Where.SMTP, by_password=row.token is None)
    text = _(
        "The server rejects every message of outbound profile “{name}”: {reason}.",
        name=row.name,
        reason=within(cause.title),
    )
    facts = {"mailbox": row.login, "host": row.host}
    return problem(
        f"refusals of {row.id}", text, cause, since, response=response or "", about=row,
        affected=(_("outbound profile {name}", name=row.name),), facts=facts, where=Where.SMTP,
    )  # fmt: skip
