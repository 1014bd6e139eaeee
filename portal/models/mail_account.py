"""A mailbox to fetch from, the ledger of its messages, and the log of its runs."""

from enum import StrEnum

from peewee import (
    BigIntegerField,
    BooleanField,
    CharField,
    FloatField,
    ForeignKeyField,
    IntegerField,
    ModelSelect,
    TextField,
)
from playhouse.fields import EnumField

from portal.core.errors import Side
from portal.core.fields import SealedField, UtcField
from portal.models.base import Leased, Row
from portal.models.destination import Destination
from portal.models.token import Token
from portal.models.token_config import Validity


class AccountType(StrEnum):
    """Znuny's names: in the clear, TLS from the first byte, or STARTTLS."""

    IMAPS = "IMAPS"
    IMAPTLS = "IMAPTLS"
    IMAP = "IMAP"
    POP3S = "POP3S"
    POP3TLS = "POP3TLS"
    POP3 = "POP3"

    @property
    def is_pop3(self) -> bool:
        return self.value.startswith("POP3")

    @property
    def is_in_the_clear(self) -> bool:
        return self in (AccountType.IMAP, AccountType.POP3)


class AfterFetch(StrEnum):
    """What becomes of a message on the server once it is delivered."""

    DELETE = "delete"
    KEEP = "keep"
    #: Kept, and marked as read.
    SEEN = "seen"
    MOVE = "move"


class LargeMessages(StrEnum):
    """What becomes of a message larger than PostMasterMaxEmailSize; it is named once in any case."""

    KEEP = "keep"
    #: To a folder of the server, unread.
    MOVE = "move"
    #: It stays, and its headers are delivered with a note.
    HEADERS = "headers"


class MailAccount(Leased):
    kind = "mail account"

    name = CharField(max_length=200, unique=True)
    type = EnumField(AccountType)
    host = CharField(max_length=253)
    port = IntegerField()
    #: The mailbox to open; need not be the token's owner (shared mailboxes).
    login = CharField(max_length=320)
    #: NULL: signs in by password.
    token = ForeignKeyField(Token, backref="mail_accounts", null=True, on_delete="RESTRICT")
    password = SealedField()
    folder = CharField(max_length=500, default="INBOX")
    destination = ForeignKeyField(Destination, backref="mail_accounts", on_delete="RESTRICT")
    #: Each message goes where its addresses say, and to ``destination`` only if they say nothing.
    dispatch_by_address = BooleanField(default=False)
    after_fetch = EnumField(AfterFetch, default=AfterFetch.KEEP)
    #: The folder that messages are moved to; empty unless they are.
    move_to = CharField(max_length=500, default="")
    #: Whether headers that command a ticket system may pass.
    trusted = BooleanField(default=False)
    large_messages = EnumField(LargeMessages, default=LargeMessages.KEEP)
    #: The folder that they are moved to; empty unless they are.
    move_large_to = CharField(max_length=500, default="")
    #: Certificates in PEM form, trusted for this server beside the usual ones.
    ca = TextField(default="")
    #: SHA-256 of the one certificate that is accepted, whoever signed it; empty: any that verifies.
    fingerprint = CharField(max_length=64, default="")
    #: Seconds between two fetches. NULL: the portal's FetchInterval.
    fetch_interval = IntegerField(null=True)
    #: Times of day, such as ``06:00, 18:30``, at which it is fetched instead; empty: by the interval.
    fetch_times = CharField(max_length=200, default="")
    #: Whether the server is asked to tell of new mail at once (IMAP IDLE); fetched by the interval all the same.
    push = BooleanField(default=False)
    #: Since when its server is listened to. NULL: it is not.
    listening_since = UtcField(null=True)
    #: Why it is not, in the other side's words. NULL: it is, or is not asked to.
    push_failure = TextField(null=True)
    validity = EnumField(Validity, default=Validity.VALID)
    comment = CharField(max_length=250, default="")
    #: The last run that ended well. NULL: none has.
    fetched_at = UtcField(null=True)
    #: The first failure since then. NULL: the last run ended well, or there was none.
    failing_since = UtcField(null=True)
    tries = IntegerField(default=0)
    #: Why, in the other side's words. NULL as above.
    failure = TextField(null=True)
    #: When it last failed. NULL as above.
    failed_at = UtcField(null=True)
    #: Which other side that is. NULL as above.
    failing_side = EnumField(Side, null=True)
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def is_valid(self) -> bool:
        return self.validity is Validity.VALID


class RunOutcome(StrEnum):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


class Run(Row):
    """One fetch of one account."""

    kind = "run"
    lines: "ModelSelect[RunLine]"
    messages: "ModelSelect[Message]"

    mail_account = ForeignKeyField(MailAccount, backref="runs", on_delete="CASCADE")
    started_at = UtcField(index=True)
    #: NULL: still running, or its worker died.
    ended_at = UtcField(null=True)
    #: How long it took, for averages. NULL: as above.
    seconds = FloatField(null=True)
    outcome = EnumField(RunOutcome, default=RunOutcome.RUNNING)
    #: Messages that were waiting at the start of the run. NULL: it never came so far.
    found = IntegerField(null=True)
    delivered = IntegerField(default=0)
    failed = IntegerField(default=0)
    removed = IntegerField(default=0)
    size = BigIntegerField(default=0)
    #: Who asked it to stop. NULL: nobody.
    cancelled_by = CharField(max_length=200, null=True)

    class Meta:
        indexes = ((("mail_account", "started_at"), False),)


class RunLine(Row):
    """One line of a run's log."""

    run = ForeignKeyField(Run, backref="lines", on_delete="CASCADE")
    at = UtcField()
    #: ``info``, ``warning`` or ``error``.
    level = CharField(max_length=10)
    text = TextField()


class MessageState(StrEnum):
    #: Found on the server; not delivered yet, or the worker died before it could say so.
    SEEN = "seen"
    DELIVERED = "delivered"
    #: It could not be fetched or delivered; it stays on the server, in quarantine, and is tried again at ``try_at``.
    FAILED = "failed"
    #: A person said that it is to stay where it is.
    SKIPPED = "skipped"
    #: Larger than PostMasterMaxEmailSize; it stays on the server.
    TOO_LARGE = "too large"


class Message(Row):
    """The ledger: one row a message seen in an account, with its identity there and what became of it.

    Written as SEEN before delivery, as DELIVERED after it, with ``removed_at`` last: a worker that dies at any moment
    leaves a row from which the next one goes on.
    """

    mail_account = ForeignKeyField(MailAccount, backref="messages", on_delete="CASCADE")
    #: Folder and UIDVALIDITY (RFC 3501 section 2.3.1.1); a new UIDVALIDITY is a new mailbox.
    mailbox = CharField(max_length=600)
    #: The UID, which an IMAP server never uses twice in the same mailbox, or the UIDL.
    uid = CharField(max_length=100)
    #: Names this message at its destination, the same at every try: what is there already is not delivered again.
    delivery_key = CharField(max_length=32, unique=True)
    #: NULL: the message has none, or was not fetched yet.
    message_id = CharField(max_length=998, null=True)
    #: SHA-256 of the message as fetched. NULL: not fetched yet.
    digest = CharField(max_length=64, null=True)
    size = BigIntegerField()
    #: From and Subject as far as they can be read and shown.
    sender = CharField(max_length=200, default="")
    subject = CharField(max_length=200, default="")
    #: The run that delivered it. NULL: none has, or the log has forgotten it.
    run = ForeignKeyField(Run, backref="messages", null=True, on_delete="SET NULL")
    state = EnumField(MessageState, default=MessageState.SEEN)
    seen_at = UtcField()
    #: NULL: not delivered yet.
    delivered_at = UtcField(null=True)
    #: Where it was delivered to. NULL: not delivered, or the destination is gone.
    destination = ForeignKeyField(Destination, null=True, on_delete="SET NULL")
    #: When the server was told to remove it, or to move it elsewhere. NULL: not by us.
    removed_at = UtcField(null=True)
    #: When it was marked as read on the server. NULL: not by us.
    marked_at = UtcField(null=True)
    #: Why the last delivery failed. NULL: it did not.
    failure = TextField(null=True)
    tries = IntegerField(default=0)
    #: When a failed one is tried again. NULL: it did not fail.
    try_at = UtcField(null=True)

    class Meta:
        indexes = ((("mail_account", "mailbox", "uid"), True), (("mail_account", "digest"), False))
