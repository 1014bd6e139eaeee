"""The machines that run the portal: the clock of each reports, so that the others notice when it is gone."""

import socket
from datetime import datetime, timedelta

from portal.models import Heartbeat

_PREFIX = "machine "
_EVERY = timedelta(seconds=20)
#: A machine that has been gone for so long is not expected back: a container gets another name at each start.
_FORGOTTEN = timedelta(days=1)


def own_name() -> str:
    return socket.gethostname()[:50]


def report(now: datetime) -> None:
    """Record that this machine is running."""
    last = Heartbeat.last(_PREFIX + own_name())
    if last is None or not last <= now < last + _EVERY:
        Heartbeat.beat(_PREFIX + own_name(), now)
        Heartbeat.delete().where(Heartbeat.name.startswith(_PREFIX), Heartbeat.at < now - _FORGOTTEN).execute()


def leave() -> None:
    """Remove this machine: its clock was stopped on purpose."""
    Heartbeat.delete().where(Heartbeat.name == _PREFIX + own_name()).execute()


def others(now: datetime) -> dict[str, datetime]:
    """When each of the other machines last reported; those gone for a day are forgotten."""
    rows = Heartbeat.select().where(
        Heartbeat.name.startswith(_PREFIX), Heartbeat.name != _PREFIX + own_name(), Heartbeat.at >= now - _FORGOTTEN
    )
    return {row.name.removeprefix(_PREFIX): row.at for row in rows.order_by(Heartbeat.name)}
