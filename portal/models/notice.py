"""Outages and warnings, from their first sight to their end."""

from datetime import datetime

from peewee import BooleanField, CharField, IntegerField, TextField
from playhouse.fields import EnumField

from portal.core.fields import UtcField
from portal.core.severity import Tone
from portal.models.base import Row


class Notice(Row):
    """One outage, or one warning, that was or is announced."""

    kind = "notice"

    #: What it is about, the same for as long as it lasts.
    key = CharField(max_length=400, index=True)
    #: The cause's name in the catalogue; a notice of an older version may have one that is no more.
    cause = CharField(max_length=60, default="unknown")
    tone = EnumField(Tone, default=Tone.BROKEN)
    #: What is out, in a sentence.
    text = TextField()
    #: The other side's own words; empty: there are none.
    words = TextField(default="")
    #: What stands still, a line each.
    standing_still = TextField(default="")
    #: The row that it is about, by its kind. NULL: no single one.
    about_kind = CharField(max_length=40, null=True)
    about_id = IntegerField(null=True)
    #: The remedy, a step a line, as it was said last.
    remedy = TextField(default="")
    #: Found by looking at the machine, not at the rows: who draws a page has not looked.
    of_machine = BooleanField(default=False)
    #: Whether it was ever broken, and not a warning alone: told again once, not at each change.
    was_broken = BooleanField(default=False)
    #: Since when it is out; for a warning the moment that it warns of. NULL: not known.
    since = UtcField(null=True)
    opened_at = UtcField()
    #: NULL: it lasts.
    closed_at = UtcField(null=True, index=True)
    #: When it was last told by mail. NULL: it was not.
    told_at = UtcField(null=True)
    #: When its end was told by mail. NULL: it was not.
    end_told_at = UtcField(null=True)
    #: Why the last mail about it could not be sent. NULL: it was, or none was tried.
    telling_failure = TextField(null=True)
    #: Somebody knows of it: no reminders, no banner until then. NULL: nobody said so.
    known_until = UtcField(null=True)
    known_by = CharField(max_length=100, default="")
    known_comment = CharField(max_length=250, default="")

    def is_known(self, now: datetime) -> bool:
        """Whether somebody has said that no more need be said, for now."""
        return self.known_until is not None and self.known_until > now
