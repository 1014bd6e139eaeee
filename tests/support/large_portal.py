"""A portal with 500 mail accounts, 300 tokens and 40 open notices, as an organization has them."""

from datetime import datetime, timedelta
from pathlib import Path

from portal.models import MailAccount, Token, TokenConfig, Validity
from portal.monitoring import notices
from tests.builders import make_account, make_config, make_destination, make_token

ACCOUNTS, TOKENS, NOTICES = 500, 300, 40
_CAUSES = ("refresh-token-revoked", "refresh-token-refused", "refresh-token-unused", "sign-in-frequency")


def fill(folder: Path, now: datetime) -> None:
    """Fill the open database."""
    inbox = make_destination(folder)
    tokens = [make_token(config, owner=f"mailbox-{n}@example.test", signed_in_at=now) for config, n in _configs()]
    Token.update(due_at=now + timedelta(minutes=40)).execute()
    for number in range(ACCOUNTS):
        token = tokens[number % TOKENS]
        make_account(inbox, token, name=f"Team {number:03}", login=f"team-{number:03}@example.test")
    MailAccount.update(fetched_at=now, due_at=now + timedelta(minutes=4)).execute()
    every = [row.id for row in MailAccount.select(MailAccount.id).order_by(MailAccount.id)]
    MailAccount.update(validity=Validity.INVALID_TEMPORARILY).where(MailAccount.id << every[49::50]).execute()
    _refuse(tokens[: NOTICES // 2], now)
    _fail(every[30::23][: NOTICES // 2], now)
    notices.update(now)


def _configs() -> list[tuple[TokenConfig, int]]:
    return [(make_config(f"Department {number:03}"), number) for number in range(TOKENS)]


def _refuse(tokens: list[Token], now: datetime) -> None:
    since = now - timedelta(hours=3)
    for number, token in enumerate(tokens):
        cause = _CAUSES[number % len(_CAUSES)]
        failed = {"refused_at": since, "failing_since": since, "failed_at": since, "due_at": None}
        Token.update(**failed, failure="invalid_grant: AADSTS50173: The grant has expired.", failure_cause=cause).where(
            Token.id == token.id
        ).execute()


def _fail(ids: list[int], now: datetime) -> None:
    since = now - timedelta(hours=2)
    for row_id in ids:
        host = f"imap-{row_id % 7}.example.test"
        failed = {"failing_since": since, "failed_at": now, "host": host, "failing_side": "server"}
        MailAccount.update(
            **failed, failure=f"{host} refused the connection.", failure_cause="connection-refused"
        ).where(MailAccount.id == row_id).execute()
