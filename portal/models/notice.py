"""Notices: outages and warnings, from detection to resolution."""

import json
from collections.abc import Mapping
from datetime import datetime

from peewee import BooleanField, CharField, IntegerField, TextField
from playhouse.fields import EnumField

from portal.core.fields import UtcField
from portal.core.language import packed, unpacked
from portal.core.severity import Severity
from portal.models.base import Row


class Notice(Row):
    """One outage or warning, open or resolved."""

    kind = "notice"

    #: Identifies the problem; constant while the notice is open.
    key = CharField(max_length=400, index=True)
    #: The cause's name in the catalogue; notices of an older version may have a name that no longer exists.
    cause = CharField(max_length=60, default="unknown")
    severity = EnumField(Severity, default=Severity.CRITICAL)
    #: The problem, in one sentence.
    text = TextField()
    #: JSON of the message of ``text`` and of the facts of the remedy, for their translation. NULL: stored by an older
    #: version, shown in English.
    message = TextField(null=True)
    #: The server's response; empty: none.
    response = TextField(default="")
    #: The affected mail accounts and other rows, one per line.
    affected = TextField(default="")
    #: Kind and id of the row concerned. NULL: no single row.
    about_kind = CharField(max_length=40, null=True)
    about_id = IntegerField(null=True)
    #: The latest remedy, one step per line.
    remedy = TextField(default="")
    #: Detected from the host's state, not from rows; page requests do not check it.
    of_machine = BooleanField(default=False)
    #: Whether the notice was ever an outage; an escalation is notified once, not at each change.
    was_critical = BooleanField(default=False)
    #: Start of the outage, or the date that a warning announces. NULL: unknown.
    since = UtcField(null=True)
    opened_at = UtcField()
    #: NULL: the notice is open.
    closed_at = UtcField(null=True, index=True)
    #: Last notification by mail. NULL: not sent.
    notified_at = UtcField(null=True)
    #: Notification of the resolution by mail. NULL: not sent.
    resolution_notified_at = UtcField(null=True)
    #: Why the last notification failed. NULL: sent, or not attempted.
    notification_failure = TextField(null=True)
    #: Acknowledged until then: no reminders and no banner. NULL: not acknowledged.
    acknowledged_until = UtcField(null=True)
    acknowledged_by = CharField(max_length=100, default="")
    acknowledged_comment = CharField(max_length=250, default="")

    def describe(self, text: str, facts: Mapping[str, str]) -> None:
        """Set the text, and what is needed to translate it. ``facts`` fill the placeholders of the remedy."""
        self.text, self.message = text, json.dumps({"text": packed(text), "facts": facts})

    @property
    def sentence(self) -> str:
        """``text``, which pages and mails translate."""
        sentence: str = unpacked(json.loads(self.message)["text"]) if self.message else self.text
        return sentence

    @property
    def facts(self) -> dict[str, str] | None:
        """The facts of the remedy; None: stored by an older version."""
        return json.loads(self.message)["facts"] if self.message else None

    def is_acknowledged(self, now: datetime) -> bool:
        """Whether the notice is acknowledged at this time."""
        return self.acknowledged_until is not None and self.acknowledged_until > now
