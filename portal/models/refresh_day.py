"""How often a token was renewed on one day, and how often that failed."""

from datetime import date, timedelta
from typing import cast

from peewee import DateField, ForeignKeyField, IntegerField

from portal.models.base import Row
from portal.models.token import Token

#: What is kept, and shown as a strip.
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
        """Count one attempt; days that are no longer shown go when a new one begins."""
        column = cls.renewed if renewed else cls.failed
        today = (cls.token == token.id) & (cls.day == day)
        if cls.update({column: column + 1}).where(today).execute():
            return
        cls.delete().where(cls.token == token.id, cls.day <= day - timedelta(days=DAYS)).execute()
        cls.create(token=token.id, day=day, **{cast(str, column.name): 1})
