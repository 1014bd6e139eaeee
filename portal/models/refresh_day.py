"""Daily counts of successful and failed refreshes per token."""

from datetime import date, timedelta
from typing import cast

from peewee import DateField, ForeignKeyField, IntegerField

from portal.models.base import Row
from portal.models.token import Token

#: Number of days stored and displayed.
DAYS = 30


class RefreshDay(Row):
    token = ForeignKeyField(Token, backref="days", on_delete="CASCADE")
    #: In UTC.
    day = DateField()
    renewed = IntegerField(default=0)
    failed = IntegerField(default=0)

    class Meta:
        indexes = ((("token", "day"), True),)

    @classmethod
    def count(cls, token: Token, day: date, *, renewed: bool) -> None:
        """Count one attempt; the first one of a day deletes days that are no longer displayed."""
        column = cls.renewed if renewed else cls.failed
        today = (cls.token == token.id) & (cls.day == day)
        if cls.update({column: column + 1}).where(today).execute():
            return
        cls.delete().where(cls.token == token.id, cls.day <= day - timedelta(days=DAYS)).execute()
        cls.create(token=token.id, day=day, **{cast(str, column.name): 1})
