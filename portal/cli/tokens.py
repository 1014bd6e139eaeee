"""``token``: sign in mailboxes, and list, refresh and revoke tokens."""

import sys
import time
from datetime import datetime, timedelta
from urllib.parse import quote

import click

from portal.cli import diagnosing
from portal.cli.common import actor, as_json, deletes, has_direct_access, now, show, show_all, with_portal
from portal.cli.selection import Chosen, act_on_each, selection
from portal.core import token_state
from portal.core.config import from_environment
from portal.core.errors import PortalError
from portal.models import DeviceSignIn, Token, TokenConfig
from portal.protocols import unix_socket
from portal.system import audit, settings
from portal.tokens import access_tokens, history, overview, revocation, token_configs, token_facts
from portal.tokens import refresh as refreshing
from portal.tokens.sign_in import authorization_code, device_code


@click.group()
def token() -> None:
    """Tokens: one per sign-in, referred to as CONFIG or CONFIG/OWNER."""


@token.command("list")
@as_json
@with_portal
def list_tokens(in_json: bool) -> None:
    """List the tokens and their states, without the token values."""
    margin, moment = settings.refresh_margin(), now()
    rows = Token.select(Token, TokenConfig).join(TokenConfig).order_by(TokenConfig.name, Token.id)
    shown = []
    for row in rows:
        facts = token_facts.of(row, margin)
        access, refresh = token_state.access_token(facts, moment), token_state.refresh_token(facts, moment)
        shown.append(
            {
                "config": row.token_config.name,
                "owner": row.owner,
                "token": access.name,
                "expires_at": row.expires_at,
                "refresh_token": refresh.name,
                "refreshed_at": row.obtained_at,
                "next_try": row.due_at,
                "why": access.why,
            }
        )
    show_all(shown, in_json)


@token.command("show")
@click.argument("reference", metavar="CONFIG[/OWNER]")
@as_json
@with_portal
def show_token(reference: str, in_json: bool) -> None:
    """Show the details of a token, without the token value."""
    row, moment = token_configs.find(reference), now()
    facts = token_facts.of(row, settings.refresh_margin())
    access, refresh = token_state.access_token(facts, moment), token_state.refresh_token(facts, moment)
    days = history.strips([row.id], moment.date())[row.id]
    known = {
        "config": row.token_config.name,
        "owner": row.owner,
        "token": access.name,
        "expires_at": row.expires_at,
        "end_note": row.expiry_note,
        "refresh_token": refresh.name,
        "granted_scope": row.granted_scope,
        "signed_in_at": row.signed_in_at,
        "refreshed_at": row.obtained_at,
        "failed_at": row.failed_at,
        "failure": row.failure,
        "tries": row.tries,
        "next_try": row.due_at,
        "renewed_30_days": sum(day.renewed for day in days),
        "failed_30_days": sum(day.failed for day in days),
        "remedy": access.remedy,
    }
    show(known, in_json)


@token.command()
@click.argument("reference", metavar="CONFIG[/OWNER]")
@click.option("--another-account", is_flag=True, help="Accept a sign-in of another account than the token's owner.")
@with_portal
def authorize(reference: str, another_account: bool) -> None:
    """Print the provider's sign-in URL, then read the URL that the browser was redirected to."""
    row = token_configs.find(reference)
    click.echo(authorization_code.begin(row, by=actor(), browser=None, now=now(), replace_owner=another_account))
    click.echo("Open this URL in a browser, sign in, and paste the URL that you were redirected to:", err=True)
    line = sys.stdin.readline().strip()
    if not line:
        raise PortalError("No URL was entered.")
    parameters = authorization_code.answer_parameters(line)
    signed_in = authorization_code.complete(parameters, by=actor(), user=None, browser=None, now=now())
    click.echo(f"Signed in as {signed_in.owner or 'an account that the provider does not name'}.")
    if not signed_in.has_refresh_token:
        click.echo("Warning: the provider issued no refresh token; this token cannot be refreshed.", err=True)


@token.command()
@selection("tokens", "CONFIG[/OWNER]…")
@with_portal
def refresh(chosen: Chosen) -> None:
    """Refresh tokens now."""
    act_on_each(_rows(chosen), _refresh, "refreshed")


def _refresh(row: Token, *, actor: str, now: datetime) -> None:
    if refreshing.refresh(row.id, actor=actor, now=now) is None:
        raise PortalError(f"{row.name!r} has no usable refresh token, or a refresh is already running.")


def _rows(chosen: Chosen) -> list[Token]:
    if chosen.names:
        return [token_configs.find(name) for name in dict.fromkeys(chosen.names)]
    ids = overview.listing(now()).ids(overview.rows(), chosen.asked(overview.conditions(now())))
    return list(Token.select(Token, TokenConfig).join(TokenConfig).where(Token.id.in_(ids)).order_by(Token.id))


@token.command("get")
@click.argument("reference", metavar="CONFIG[/OWNER]")
@click.option(
    "--min-seconds",
    default=60,
    show_default=True,
    type=click.IntRange(0, 86400),
    help="Minimum remaining lifetime in seconds.",
)
def get_token(reference: str, min_seconds: int) -> None:
    """Print an access token; refresh it first if it expires too soon.

    Users without access to the portal's data folder get the token through PORTAL_LOCAL_SOCKET.
    """
    config = from_environment()
    if config.local_socket is None or has_direct_access(config):
        _print_token(reference, min_seconds)
        return
    target = f"/api/v1/tokens/{quote(reference)}?min_seconds={min_seconds}"
    click.echo(unix_socket.ask(config.local_socket, "GET", target)["access_token"])


@with_portal
def _print_token(reference: str, min_seconds: int) -> None:
    row = token_configs.find(reference)
    usable = access_tokens.usable_access_token(row.id, min_life=timedelta(seconds=min_seconds), actor=actor())
    access_token = usable.access_token
    assert access_token is not None
    audit.about(row, actor(), "access-token-read", "on the command line", now())
    click.echo(access_token.reveal())


@token.command()
@click.argument("reference", metavar="CONFIG[/OWNER]")
@with_portal
def forget(reference: str) -> None:
    """Remove a token's values from the portal without revoking the token at the provider."""
    revocation.forget(token_configs.find(reference), actor=actor(), now=now())


@token.command()
@click.argument("config")
@with_portal
def request(config: str) -> None:
    """Request an app-only token (client credentials) now."""
    row = token_configs.find(config)
    if row.token_config.flow.has_sign_in:
        raise PortalError(f"{config!r} requires a sign-in; use token authorize or token device.")
    if refreshing.refresh(row.id, actor=actor(), now=now()) is None:
        raise PortalError(f"{config!r} is set to invalid, or a token request is already running.")


@token.command()
@click.argument("config")
@with_portal
def device(config: str) -> None:
    """Sign in with a code entered on another device, and wait for the result."""
    row = device_code.begin(token_configs.find(config), by=actor(), now=now())
    click.echo(f"Open {row.verification_uri} and enter the code {row.user_code}")
    while row.ended_at is None:
        time.sleep(row.interval)
        device_code.poll(row.id, now=now())
        row = DeviceSignIn.get_by_id(row.id)
    if row.failure:
        raise PortalError(row.failure)
    click.echo(f"Signed in as {row.token.owner or 'an account that the provider does not name'}.")


@token.command()
@click.argument("reference", metavar="CONFIG[/OWNER]")
@with_portal
def revoke(reference: str) -> None:
    """Revoke a token at the provider and remove its values from the portal."""
    revocation.revoke(token_configs.find(reference), actor=actor(), now=now())


@token.command("add")
@click.argument("config")
@click.option(
    "--mailbox",
    default="",
    metavar="ADDRESS",
    help="Mailbox that a service account opens, or the only one that may sign in.",
)
@with_portal
def add_token(config: str, mailbox: str) -> None:
    """Add a token to a token configuration, for another mailbox."""
    token_configs.add_token(TokenConfig.named(config), mailbox=mailbox, actor=actor(), now=now())


@token.command("delete")
@click.argument("reference", metavar="CONFIG[/OWNER]")
@deletes
@with_portal
def delete_token(reference: str) -> None:
    """Delete a token, unless it is in use."""
    token_configs.delete_token(token_configs.find(reference), actor=actor(), now=now())


diagnosing.add_to(token, token_configs.find, "CONFIG[/OWNER]")
