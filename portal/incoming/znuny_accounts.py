"""Import of Znuny's PostMaster mail accounts from a dump of its table ``mail_account``, planned first, then applied.

The dump is a CSV or tab-separated file with the column names in its first line, joined with the names of the queue and
of the OAuth2 token configuration (docs/mail-accounts.md has the SELECT statement).
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.core.language import _
from portal.incoming import mail_accounts
from portal.incoming.mail_accounts import Fields
from portal.models import AccountType, AfterFetch, Destination, MailAccount, Token, Validity
from portal.tokens import token_configs

MAX_BYTES = 1_000_000
_REQUIRED = {"login", "host", "account_type", "queue_id"}
_KNOWN = _REQUIRED | {
    "id", "pw", "imap_folder", "trusted", "authentication_type", "oauth2_token_config_id", "comments", "valid_id",
    "create_time", "create_by", "change_time", "change_by", "queue", "token_config",
}  # fmt: skip
_VALIDITY = {"1": Validity.VALID, "2": Validity.INVALID, "3": Validity.INVALID_TEMPORARILY}
#: How databases write NULL into a dump.
_NULL = ("", "NULL", "\\N")


@dataclass
class Step:
    """The planned action for one row. ``fields`` None: not imported, because of ``why``. ``notes``: decisions."""

    name: str
    why: str = ""
    notes: list[str] = field(default_factory=list)
    fields: Fields | None = None
    password: Secret | None = None
    is_refused: bool = False


def plan(raw: bytes, *, by_queue: Mapping[str, str], otherwise: Destination | None) -> list[Step]:
    """Plan the import without changing anything.

    ``by_queue``: destination names by queue name; a queue that it lacks goes to the destination of the same name, else
    to ``otherwise``. Invalid if the file is no such dump.
    """
    rows = _rows(raw)
    steps = [_step(name, row, by_queue, otherwise) for name, row in zip(_names(rows), rows, strict=True)]
    left_out = sorted({name for row in rows for name, value in row.items() if name not in _KNOWN and value})
    for step in steps:
        step.notes += [_("not imported: {names}", names=", ".join(left_out))] if left_out else []
    return steps


def apply(steps: list[Step], *, actor: str, now: datetime) -> int:
    """Add the planned accounts in one transaction and return their number. Invalid: a row was refused."""
    if refused := [step.name for step in steps if step.is_refused]:
        raise Invalid(
            {"file": _("Nothing was imported. Correct or remove in the file: {names}.", names=", ".join(refused))}
        )
    wanted = [step for step in steps if step.fields]
    with transaction():
        for step in wanted:
            assert step.fields
            mail_accounts.add(step.fields, step.password, actor=actor, now=now)
    return len(wanted)


def _rows(raw: bytes) -> list[dict[str, str]]:
    if len(raw) > MAX_BYTES:
        raise Invalid({"file": _("The file is larger than {megabytes} MB.", megabytes=MAX_BYTES // 1_000_000)})
    text = raw.decode("utf-8-sig", "replace").replace("\0", "")
    first = text.partition("\n")[0]
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in first else ","))
    except csv.Error as error:
        raise Invalid({"file": _("The file is not a table: {error}.", error=error)}) from error
    found = [{(name or "").lower(): _value(value) for name, value in row.items()} for row in rows]
    if not found or (missing := _REQUIRED - found[0].keys()):
        names = ", ".join(sorted(_REQUIRED if not found else missing))
        raise Invalid({"file": _("The first line must name the columns; missing: {names}.", names=names)})
    return found


def _value(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return "" if text in _NULL else text


def _names(rows: list[dict[str, str]]) -> list[str]:
    """A name for each account: Znuny has none, and may fetch several folders of one mailbox."""
    count, names = Counter[str](), []
    for row in rows:
        name = f"{row['login']} at {row['host']}"[:190]
        count[name] += 1
        names.append(name if count[name] == 1 else f"{name} ({count[name]})")
    return names


def _step(name: str, row: Mapping[str, str], by_queue: Mapping[str, str], otherwise: Destination | None) -> Step:
    step = Step(name)
    if MailAccount.select().where(MailAccount.name == step.name).exists():
        step.why = _("skipped: a mail account with this name exists")
        return step
    try:
        step.fields = _fields(row, step, by_queue, otherwise)
        step.password = None if step.fields.token else Secret(row["pw"]) if row.get("pw") else None
        mail_accounts.complete(step.fields)
        mail_accounts.check(step.fields, has_password=bool(step.password))
    except PortalError as error:
        step.fields, step.is_refused, step.why = None, True, str(error)
    return step


def _fields(row: Mapping[str, str], step: Step, by_queue: Mapping[str, str], otherwise: Destination | None) -> Fields:
    kind = row["account_type"] or "POP3"
    if kind not in set(AccountType):
        raise Invalid({"account_type": _("{kind} is not a type of the portal.", kind=kind)})
    # Znuny deletes a message after it was fetched.
    return Fields(
        name=step.name,
        type=AccountType(kind),
        host=row["host"],
        port=0,
        login=row["login"],
        token=_token(row, step),
        destination=_destination(row, step, by_queue, otherwise),
        dispatch_by_address=row["queue_id"] == "0",
        folder=row.get("imap_folder") or "INBOX",
        after_fetch=AfterFetch.DELETE,
        trusted=row.get("trusted") == "1",
        validity=_VALIDITY.get(row.get("valid_id") or "1", Validity.INVALID),
        comment=row.get("comments", "")[:250],
    )


def _token(row: Mapping[str, str], step: Step) -> Token | None:
    if row.get("authentication_type") != "oauth2_token":
        return None
    name = row.get("token_config", "")
    config = token_configs.config_of(name) if name else None
    if config is None:
        raise Invalid(
            {"token_config": _("There is no token configuration {name!r}. Import the configurations first.", name=name)}
        )
    tokens = token_configs.tokens_of(config)
    fitting = [token for token in tokens if (token.owner or "").lower() == row["login"].lower()]
    chosen = (fitting or tokens)[0]
    if not fitting:
        step.notes.append(
            _("uses the token {name}; check that it may open {mailbox}", name=chosen.name, mailbox=row["login"])
        )
    return chosen


def _destination(
    row: Mapping[str, str], step: Step, by_queue: Mapping[str, str], otherwise: Destination | None
) -> Destination:
    queue = row.get("queue", "")
    name = by_queue.get(queue, queue)
    found: Destination | None = Destination.get_or_none(Destination.name == name) if name else None
    if queue in by_queue and found is None:
        raise Invalid({"queue": _("There is no destination {name!r}.", name=name)})
    chosen = found or otherwise
    if chosen is None:
        raise Invalid({"queue": _("There is no destination for the queue {name!r}.", name=queue or row["queue_id"])})
    if row["queue_id"] == "0":
        step.notes.append(_("by address, else → {name}", name=chosen.name))
    else:
        step.notes.append(_("queue {queue} → {name}", queue=queue or row["queue_id"], name=chosen.name))
    return chosen
