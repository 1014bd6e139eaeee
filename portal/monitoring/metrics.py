"""Metrics for Prometheus: counts and ages, without names of mailboxes, users or configurations."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from peewee import fn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from portal.core.severity import Severity
from portal.models import (
    Heartbeat,
    MailAccount,
    Message,
    MessageState,
    MetricCounter,
    Notice,
    OutboundMessage,
    OutboundState,
    Token,
    TokenConfig,
    Validity,
    tuples,
)
from portal.monitoring import dashboard, health
from portal.monitoring.problems import machine
from portal.system import disks, job_queue

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Metric name and help text of each tally.
_COUNTED = {
    "refresh": ("portal_token_refreshes", "Token refreshes"),
    "fetch": ("portal_fetches", "Mail account fetches"),
    "message": ("portal_messages", "Messages fetched"),
    "send": ("portal_sent", "Messages with a final result from an outbound server"),
    "call": ("portal_web_service_calls", "Web service calls"),
    "notice": ("portal_notices_opened", "Notices opened"),
}
_TIMED = {"refresh": "portal_token_refresh_seconds", "fetch": "portal_fetch_seconds",
          "call": "portal_web_service_call_seconds"}  # fmt: skip


def exposition(now: datetime) -> bytes:
    """Return all metrics in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_Portal(now))
    return generate_latest(registry)


def _due(now: datetime) -> dict[str, int]:
    """The backlog; dashboards and alert rules rely on the older value of the label."""
    return {what.replace("refresh", "renew"): count for what, count in health.backlog(now).items()}


def _oldest(now: datetime) -> dict[str, float]:
    """How long the oldest due token, mail account and outgoing message have waited, in seconds; 0: none is due."""
    queued = OutboundMessage.select(fn.MIN(OutboundMessage.try_at)).where(OutboundMessage.state == OutboundState.QUEUED)
    oldest = {
        "renew": Token.select(fn.MIN(Token.due_at)).scalar(),
        "fetch": MailAccount.select(fn.MIN(MailAccount.due_at)).where(MailAccount.validity == Validity.VALID).scalar(),
        "send": queued.scalar(),
    }
    return {what: max(0.0, (now - due_at).total_seconds()) if due_at else 0.0 for what, due_at in oldest.items()}


class _Portal(Collector):
    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        now = self._now
        yield _gauge("portal_info", "1 while the portal answers", "", {"": 1})
        yield _gauge("portal_tokens", "Signed-in tokens by state", "state", _tokens(now))
        yield _gauge("portal_mail_accounts", "Mail accounts by state", "state", _mail_accounts())
        yield _gauge("portal_notices", "Open notices that are not acknowledged", "level", _notices(now))
        yield _gauge("portal_due", "Due rows that no worker has claimed", "what", _due(now))
        yield _gauge("portal_oldest_due_seconds", "Age of the work that is due longest", "what", _oldest(now))
        yield _gauge("portal_outbound_queued", "Outgoing messages in the queue", "", {"": _queued()})
        yield _gauge("portal_quarantined", "Messages in quarantine", "", {"": _quarantined()})
        yield _gauge("portal_beat_age_seconds", "Seconds since the last heartbeat", "part", _beats(now))
        yield from _redis(now)
        yield _gauge("portal_next_end_days", "Days until the next known expiry", "", _next_end(now))
        yield _gauge("portal_disk_free_ratio", "Free space of the fullest disk as a ratio", "", _fullest())
        yield from _tallies()


def _gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge. ``label`` empty: a single value without labels. ``values`` empty: unknown."""
    metric = GaugeMetricFamily(name, help_text, labels=[label] if label else None)
    for key, value in values.items():
        metric.add_metric([key] if label else [], value)
    return metric


def _tokens(now: datetime) -> dict[str, float]:
    found = dashboard.tokens(now)
    new = Token.select().join(TokenConfig).where(Token.obtained_at.is_null(), TokenConfig.validity == Validity.VALID)
    return {"good": found.good, "troubled": found.troubled, "broken": found.broken, "never_requested": new.count()}


def _mail_accounts() -> dict[str, float]:
    fetched, well = dashboard.mail_accounts()
    return {"good": well, "failing": fetched - well, "switched_off": MailAccount.select().count() - fetched}


def _notices(now: datetime) -> dict[str, float]:
    unknown = Notice.acknowledged_until.is_null() | (Notice.acknowledged_until <= now)
    query = Notice.select(Notice.severity, fn.COUNT(Notice.id)).where(Notice.closed_at.is_null(), unknown)
    counts = {Severity(severity): count for severity, count in tuples(query.group_by(Notice.severity))}
    return {severity.level: counts.get(severity, 0) for severity in (Severity.CRITICAL, Severity.WARNING)}


def _queued() -> int:
    return int(OutboundMessage.select().where(OutboundMessage.state == OutboundState.QUEUED).count())


def _quarantined() -> int:
    there = (Message.state == MessageState.FAILED) & Message.removed_at.is_null()
    return int(Message.select().where(there).count())


def _beats(now: datetime) -> dict[str, float]:
    beats = Heartbeat.select().where(Heartbeat.name.in_([health.CLOCK, health.PUSH]))
    return {beat.name: max((now - beat.at).total_seconds(), 0.0) for beat in beats}


def _redis(now: datetime) -> Iterator[Metric]:
    """Yield the Redis metrics; without Redis only ``portal_redis_up`` 0 has a value."""
    workers = job_queue.workers(now)
    yield _gauge("portal_redis_up", "1 if Redis answers, otherwise 0", "", {"": float(workers is not None)})
    alive = {queue: float(len(names)) for queue, names in (workers or {}).items()}
    yield _gauge("portal_workers", "Running workers by queue", "queue", alive)
    yield _gauge("portal_queue_jobs", "Jobs waiting in Redis by queue", "queue", dict(job_queue.depths() or {}))


def _next_end(now: datetime) -> dict[str, float]:
    first = next((mark.end.since for mark in dashboard.expiries(now)), None)
    return {"": (first - now).total_seconds() / 86400} if first else {}


def _fullest() -> dict[str, float]:
    ratios = [disk.free / disk.total for disk in disks.of(machine.maildirs()) if disk.total]
    return {"": min(ratios)} if ratios else {}


def _tallies() -> Iterator[Metric]:
    rows = list(MetricCounter.select().order_by(MetricCounter.name, MetricCounter.outcome))
    for name, (metric, help_text) in _COUNTED.items():
        counter = CounterMetricFamily(metric, f"{help_text}, by outcome", labels=["outcome"])
        mine = [row for row in rows if row.name == name]
        for row in mine:
            counter.add_metric([row.outcome], row.count)
        yield counter
        if name in _TIMED:
            took, count = sum(row.seconds for row in mine), sum(row.count for row in mine)
            yield SummaryMetricFamily(_TIMED[name], f"{help_text}: duration in seconds", count, took)
