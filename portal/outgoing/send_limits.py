"""Limits of an outbound profile: messages per minute and recipients per day."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from peewee import JOIN, ModelSelect, fn

from portal.models import OutboundMessage, OutboundProfile, OutboundRecipient, tuples
from portal.outgoing.queue_reader import QueuedMessage

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


def allowed(profile: OutboundProfile, waiting: Sequence[QueuedMessage], now: datetime) -> int:
    """Return how many of the waiting messages, from the first on, may be started now."""
    count = len(waiting)
    if profile.per_minute is not None:
        count = min(count, profile.per_minute - _begun(profile, now - _MINUTE).count())
    if profile.per_day is not None:
        left = profile.per_day - sum(recipients for _, recipients in _recipients(profile, now))
        count = min(count, _fitting(waiting, left, profile.per_day))
    return max(count, 0)


def _fitting(waiting: Sequence[QueuedMessage], left: int, per_day: int) -> int:
    for number, queued in enumerate(waiting):
        # A message with more recipients than a day allows is sent when nothing else was.
        wanted = min(len(queued.envelope.recipients), per_day)
        if wanted > left:
            return number
        left -= wanted
    return len(waiting)


def again_at(profile: OutboundProfile, following: QueuedMessage | None, now: datetime) -> datetime | None:
    """Return when the limits allow the following message, or any if it is not known yet; None: now."""
    times: list[datetime] = []
    if profile.per_minute is not None:
        begun = [at for (at,) in tuples(_begun(profile, now - _MINUTE).order_by(OutboundMessage.begun_at))]
        times += [at + _MINUTE for at in begun[-profile.per_minute :][:1] if len(begun) >= profile.per_minute]
    if profile.per_day is not None:
        wanted = min(len(following.envelope.recipients) if following else 1, profile.per_day)
        times += _end_of_day_limit(_recipients(profile, now), profile.per_day - wanted)
    return max(times, default=None)


def _end_of_day_limit(begun: list[tuple[datetime, int]], most: int) -> list[datetime]:
    """Return when the number of recipients falls to ``most``; empty: it is not above."""
    total, ends = sum(recipients for _, recipients in begun), []
    for begun_at, recipients in begun:
        if total <= most:
            break
        total, ends = total - recipients, [begun_at + _DAY]
    return ends


def _begun(profile: OutboundProfile, since: datetime) -> "ModelSelect[OutboundMessage]":
    begun = OutboundMessage.select(OutboundMessage.begun_at)
    return begun.where(OutboundMessage.profile == profile.id, OutboundMessage.begun_at > since)


def _recipients(profile: OutboundProfile, now: datetime) -> list[tuple[datetime, int]]:
    """Return start and number of recipients of the messages begun within a day, the oldest first."""
    columns = (OutboundMessage.begun_at, fn.COUNT(OutboundRecipient.id))
    joined = OutboundMessage.select(*columns).join(OutboundRecipient, JOIN.LEFT_OUTER)
    here = joined.where(OutboundMessage.profile == profile.id, OutboundMessage.begun_at > now - _DAY)
    return tuples(here.group_by(OutboundMessage.id).order_by(OutboundMessage.begun_at))
