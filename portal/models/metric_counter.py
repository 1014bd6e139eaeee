"""Monotonic counters for the metrics."""

from peewee import BigIntegerField, CharField, FloatField

from portal.models.base import Row


class MetricCounter(Row):
    #: Operation and outcome, for example ``refresh``, ``renewed``.
    name = CharField(max_length=40)
    outcome = CharField(max_length=40)
    count = BigIntegerField(default=0)
    #: Total duration.
    seconds = FloatField(default=0.0)

    class Meta:
        indexes = ((("name", "outcome"), True),)

    @classmethod
    def add(cls, name: str, outcome: str, count: int = 1, seconds: float = 0.0) -> None:
        """Add to a counter."""
        more = {cls.count: cls.count + count, cls.seconds: cls.seconds + seconds}
        cls.insert(name=name, outcome=outcome, count=count, seconds=seconds).on_conflict(
            conflict_target=[cls.name, cls.outcome], update=more
        ).execute()
