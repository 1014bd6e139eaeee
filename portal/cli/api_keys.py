"""``api-key``: manage the API keys with which programs get access tokens and send mail."""

from datetime import UTC, datetime

import click

from portal.access import api_keys
from portal.cli.common import actor, as_json, deletes, now, show_all, with_portal
from portal.models import ApiKey, TokenConfig


@click.group("api-key")
def api_key() -> None:
    """API keys with which programs get access tokens and send mail."""


@api_key.command("list")
@as_json
@with_portal
def list_keys(in_json: bool) -> None:
    """List the API keys. The key itself is shown only once, when it is created."""
    shown = []
    for row in ApiKey.select().order_by(ApiKey.name):
        configs = ", ".join(allowed.token_config.name for allowed in row.token_configs)
        shown.append({"name": row.name, "begins": row.hint, "configs": configs, "may_send": row.may_send,
                      "senders": row.senders, "per_hour": row.per_hour,
                      "may_watch": row.may_read_health,
                      "may_manage": row.may_manage,
                      "networks": row.networks, "ends_at": row.ends_at, "used_at": row.used_at,
                      "used_from": row.used_from, "handed_out": api_keys.usage_total(row)})  # fmt: skip
    show_all(shown, in_json)


@api_key.command()
@click.argument("name")
@click.option("--config", "configs", multiple=True, metavar="CONFIG", help="Token configuration to allow; repeatable.")
@click.option("--may-send", is_flag=True, help="The key may send mail.")
@click.option("--senders", default="", help="Addresses and domains that it may send from. Default: any.")
@click.option("--per-hour", type=int, help="Messages that it may send in an hour. Default: any number.")
@click.option("--for-relay", is_flag=True, help="Programs in the networks send on the relay listener without the key.")
@click.option("--may-watch", "may_read_health", is_flag=True, help="The key may read health status.")
@click.option("--may-manage", is_flag=True, help="The key may read and change the configuration (management API).")
@click.option("--networks", default="", help="Networks that may use the key, such as 10.1.0.0/16. Default: any.")
@click.option("--ends", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="Expires at (UTC). Default: never.")
@click.option("--comment", default="", help="A note for people.")
@with_portal
def add(
    name: str,
    configs: tuple[str, ...],
    may_send: bool,
    senders: str,
    per_hour: int | None,
    for_relay: bool,
    may_read_health: bool,
    may_manage: bool,
    networks: str,
    ends: datetime | None,
    comment: str,
) -> None:
    """Create an API key and print it. The key cannot be shown again."""
    entered = api_keys.Fields(
        name=name,
        configs=[TokenConfig.named(config) for config in configs],
        networks=networks,
        may_send=may_send,
        senders=senders,
        per_hour=per_hour,
        for_relay=for_relay,
        may_read_health=may_read_health,
        may_manage=may_manage,
        ends_at=ends.replace(tzinfo=UTC) if ends else None,
        comment=comment,
    )
    _, key = api_keys.add(entered, actor=actor(), now=now())
    click.echo(key.reveal())


@api_key.command()
@click.argument("name")
@click.option("--overlap", default=24, show_default=True, metavar="HOURS", help="How long the present key still works.")
@with_portal
def replace(name: str, overlap: int) -> None:
    """Replace an API key by a new one with the same permissions, and print it."""
    click.echo(api_keys.replace(ApiKey.named(name), overlap, actor=actor(), now=now()).reveal())


@api_key.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete an API key. The key stops working immediately."""
    api_keys.delete(ApiKey.named(name), actor=actor(), now=now())
