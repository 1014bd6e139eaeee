"""Generator of new mail for the sandbox mailboxes."""

import random
import threading
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from portal.sandbox import store

_SECONDS = 15
_SENDERS = [
    "Ada Lovelace <ada@example.test>",
    "Grace Hopper <grace@example.test>",
    "Émilie du Châtelet <emilie@example.test>",
]
_SUBJECTS = {
    "helpdesk@sandbox.test": ["Printer on floor 3", "Cannot sign in", "New laptop, please", "The VPN drops every hour"],
    "invoices@sandbox.test": ["Invoice 2026-1187", "Reminder: invoice 2026-0902", "Credit note 44"],
    "reports@sandbox.test": ["Backup report", "Scan from floor 2", "Weekly figures"],
}


def message(user: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = random.choice(_SENDERS), user
    mail["Subject"] = random.choice(_SUBJECTS[user])
    mail["Date"], mail["Message-ID"] = format_datetime(datetime.now(UTC)), make_msgid(domain="example.test")
    mail.set_content("Hello,\n\nplease have a look at this when you find the time.\n\nThank you\n")
    return mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))


def run(stop: threading.Event) -> None:
    """Add a message to each mailbox every 15 seconds until stopped; a mailbox gets 50 messages at most."""
    while not stop.wait(_SECONDS):
        with store.database.connection_context():
            for user in store.USERS:
                if len(store.mail_of(user)) < 50:
                    store.add_mail(user, message(user))
