"""Mail accounts, the ledger of their messages, and the log of their runs."""

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

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Leased, Row
from portal.models.destination import Destination
from portal.models.failing import Failing
from portal.models.token import Token
from portal.models.token_config import Validity


class AccountType(StrEnum):
    """Znuny's names: without TLS, implicit TLS (…S) or STARTTLS (…TLS); MSGraph: Microsoft Graph over HTTPS."""

    IMAPS = "IMAPS"
    IMAPTLS = "IMAPTLS"
    IMAP = "IMAP"
    POP3S = "POP3S"
    POP3TLS = "POP3TLS"
    POP3 = "POP3"
    MSGRAPH = "MSGraph"

    @property
    def is_graph(self) -> bool:
        return self is AccountType.MSGRAPH

    @property
    def has_folders(self) -> bool:
        return not self.is_pop3

    @property
    def is_imap(self) -> bool:
        return self.value.startswith("IMAP")

    @property
    def is_pop3(self) -> bool:
        return self.value.startswith("POP3")

    @property
    def is_without_tls(self) -> bool:
        return self in (AccountType.IMAP, AccountType.POP3)


class AfterFetch(StrEnum):
    """What happens to a message on the server after delivery."""

    DELETE = "delete"
    KEEP = "keep"
    #: Kept, and marked as read.
    SEEN = "seen"
    MOVE = "move"


class LargeMessages(StrEnum):
    """What happens to a message larger than PostMasterMaxEmailSize; each one is logged once."""

    KEEP = "keep"
    #: Moved, unread, to another folder on the server.
    MOVE = "move"
    #: Kept on the server; its headers are delivered with a note.
    HEADERS = "headers"


class MailAccount(Failing, Leased):
    kind = "mail account"

    name = CharField(max_length=200, unique=True)
    type = EnumField(AccountType)
    host = CharField(max_length=253)
    port = IntegerField()
    #: The user name of the mailbox; may differ from the token's owner (shared mailboxes).
    login = CharField(max_length=320)
    #: NULL: sign-in by password.
    token = ForeignKeyField(Token, backref="mail_accounts", null=True, on_delete="RESTRICT")
    password = EncryptedField()
    folder = CharField(max_length=500, default="INBOX")
    destination = ForeignKeyField(Destination, backref="mail_accounts", on_delete="RESTRICT")
    #: Messages are routed by recipient address; ``destination`` receives those without a match.
    dispatch_by_address = BooleanField(default=False)
    after_fetch = EnumField(AfterFetch, default=AfterFetch.KEEP)
    #: Folder for delivered messages with AfterFetch.MOVE; otherwise empty.
    move_to = CharField(max_length=500, default="")
    #: Keep X-OTRS-* and X-Znuny-* headers.
    trusted = BooleanField(default=False)
    large_messages = EnumField(LargeMessages, default=LargeMessages.KEEP)
    #: Folder for large messages with LargeMessages.MOVE; otherwise empty.
    move_large_to = CharField(max_length=500, default="")
    #: PEM certificates trusted for this server in addition to the system's.
    ca = TextField(default="")
    #: SHA-256 of the only accepted certificate; empty: normal verification.
    fingerprint = CharField(max_length=64, default="")
    #: Seconds between fetches. NULL: the FetchInterval setting applies.
    fetch_interval = IntegerField(null=True)
    #: Times of day for fetches, such as ``06:00, 18:30``; empty: ``fetch_interval`` applies.
    fetch_times = CharField(max_length=200, default="")
    #: Receive new mail immediately (IMAP IDLE), beside the scheduled fetches.
    push = BooleanField(default=False)
    #: Start of the current IDLE session. NULL: none.
    listening_since = UtcField(null=True)
    #: Why IDLE failed: the server's message. NULL: IDLE works or is off.
    push_failure = TextField(null=True)
    validity = EnumField(Validity, default=Validity.VALID)
    comment = CharField(max_length=250, default="")
    #: The last successful run. NULL: none yet.
    fetched_at = UtcField(null=True)
    tries = IntegerField(default=0)
    #: The mailbox after a fetch that left nothing to do, to recognize that it has not changed; empty: unknown.
    mailbox_state = CharField(max_length=200, default="")
    #: Microsoft Graph: requests what has arrived since the last complete fetch; empty: all messages are requested.
    delta_link = TextField(default="")
    #: Host and process id of the worker that holds or last held the lease; empty: not a worker.
    held_by = CharField(max_length=300, default="")
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
    """One fetch of a mail account."""

    kind = "run"
    lines: "ModelSelect[RunLine]"
    messages: "ModelSelect[Message]"

    mail_account = ForeignKeyField(MailAccount, backref="runs", on_delete="CASCADE")
    started_at = UtcField(index=True)
    #: NULL: still running, or the worker died.
    ended_at = UtcField(null=True)
    #: Duration, for averages. NULL as above.
    seconds = FloatField(null=True)
    outcome = EnumField(RunOutcome, default=RunOutcome.RUNNING)
    #: Messages found on the server at the start. NULL: the run failed before.
    found = IntegerField(null=True)
    delivered = IntegerField(default=0)
    failed = IntegerField(default=0)
    removed = IntegerField(default=0)
    size = BigIntegerField(default=0)
    #: The user who stopped the run. NULL: not stopped by a user.
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
    #: Found on the server; not delivered yet, or the worker died before recording the delivery.
    SEEN = "seen"
    DELIVERED = "delivered"
    #: Fetch or delivery failed; the message stays on the server, in quarantine, and is retried at ``try_at``.
    FAILED = "failed"
    #: Skipped by a user; the message stays on the server.
    SKIPPED = "skipped"
    #: Larger than PostMasterMaxEmailSize; the message stays on the server.
    TOO_LARGE = "too large"


class Message(Row):
    """The ledger: one row per message seen in an account, with its identity on the server and its state.

    Stored as SEEN before delivery, as DELIVERED after it, and with ``removed_at`` last, so that after a worker's death
    the next worker continues from the row.
    """

    mail_account = ForeignKeyField(MailAccount, backref="messages", on_delete="CASCADE")
    #: Folder and UIDVALIDITY (RFC 3501 section 2.3.1.1); a new UIDVALIDITY is a new mailbox.
    mailbox = CharField(max_length=600)
    #: The IMAP UID, unique within ``mailbox``, the POP3 UIDL, or the immutable ID of Microsoft Graph.
    uid = CharField(max_length=300)
    #: Identifies the message at its destination in every attempt, so that it is not delivered twice.
    delivery_key = CharField(max_length=32, unique=True)
    #: NULL: the message has no Message-ID, or has not been fetched yet.
    message_id = CharField(max_length=998, null=True)
    #: SHA-256 of the message as fetched. NULL: not fetched yet.
    digest = CharField(max_length=64, null=True)
    size = BigIntegerField()
    #: From and Subject, decoded for display.
    sender = CharField(max_length=200, default="")
    subject = CharField(max_length=200, default="")
    #: The run that delivered the message. NULL: not delivered, or the run's log was deleted.
    run = ForeignKeyField(Run, backref="messages", null=True, on_delete="SET NULL")
    state = EnumField(MessageState, default=MessageState.SEEN)
    seen_at = UtcField()
    #: NULL: not delivered yet.
    delivered_at = UtcField(null=True)
    #: The destination of the delivery. NULL: not delivered, or the destination was deleted.
    destination = ForeignKeyField(Destination, null=True, on_delete="SET NULL")
    #: When the portal deleted or moved the message on the server. NULL: not done.
    removed_at = UtcField(null=True)
    #: When the portal marked the message as read on the server. NULL: not done.
    marked_at = UtcField(null=True)
    #: Why the last delivery failed. NULL: no failure.
    failure = TextField(null=True)
    #: The cause of that failure in the catalog. NULL as above.
    failure_cause = CharField(max_length=60, null=True)
    tries = IntegerField(default=0)
    #: The next attempt after a failure. NULL: no failure.
    try_at = UtcField(null=True)

    class Meta:
        indexes = ((("mail_account", "mailbox", "uid"), True), (("mail_account", "digest"), False))
