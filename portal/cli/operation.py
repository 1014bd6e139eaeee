"""Starting the portal and its parts, upgrading, checking."""

import sys

import click

from portal import embedded, health, log, settings, startup, users
from portal.cli.common import now
from portal.config import Config, from_environment, parse_bind
from portal.db import connected
from portal.errors import ConfigError
from portal.jobs import MAIL, TOKENS
from portal.supervisor import Part, listen, supervise


@click.command()
@click.option("--bind", metavar="HOST:PORT", help="Instead of PORTAL_BIND.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="How many mailboxes at once.")
@click.option("--sandbox", is_flag=True, help="With a provider, a mail server and example data to try the portal out.")
def run(bind: str | None, workers: int, sandbox: bool) -> None:
    """Start everything: embedded Redis, web server, workers, clock."""
    config = from_environment(_with_bind(bind))
    log.set_up(config.log_format)
    startup.upgrade(config, now=now())
    with connected():
        settings.remember_address(config.address, now=now())
    with listen(config.bind_host, config.bind_port) as socket:
        parts = [*_redis(config), _web(socket.fileno()), *_background(workers)]
        environment = {"PORTAL_BIND": config.address, "PORTAL_DATA": str(config.data_dir)}
        if sandbox:
            from portal.sandbox import part

            sandbox_part, sandbox_environment = part.prepare(config, now=now())
            parts.insert(0, sandbox_part)
            environment |= sandbox_environment
        sys.exit(supervise(parts, environment, config.data_dir, lambda: _greet(config, sandbox)))


def _with_bind(bind: str | None) -> dict[str, str]:
    import os

    if bind:
        parse_bind(bind)
    return {**os.environ, **({"PORTAL_BIND": bind} if bind else {})}


def _redis(config: Config) -> list[Part]:
    return [] if config.redis_url else [Part("redis", embedded.command(config))]


def _web(handle: int) -> Part:
    return Part("web", _portal("web", "--handle", str(handle)), handles=(handle,))


def _background(workers: int) -> list[Part]:
    """One worker for tokens alone: however long the mailboxes take, renewals do not wait."""
    mail = [Part(f"worker-{number}", _portal("worker")) for number in range(1, workers + 1)]
    return [Part("worker-tokens", _portal("worker", "--queue", TOKENS)), *mail, Part("clock", _portal("clock"))]


def _portal(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "portal", *arguments]


def _greet(config: Config, sandbox: bool) -> None:
    click.echo(f"\n  Mail Token Portal is at  http://{config.address}/")
    if sandbox:
        from portal.sandbox import addresses, seed

        click.echo(f"  Sign in as  {seed.ADMIN}  with the password  {seed.ADMIN_PASSWORD}")
        click.echo(f"  The sandbox's provider is at  {addresses.Addresses.of(config).provider}/")
    else:
        with connected():
            key = users.new_setup_link(now=now())
        if key:
            click.echo(f"  Create the first admin at  http://{config.address}/setup/{key.reveal()}")
            click.echo("  (works once, for a day; or use: python -m portal user add NAME --role admin)")
    click.echo("  Ctrl-C stops it.\n")


@click.command()
@click.option("--bind", metavar="HOST:PORT", help="Instead of PORTAL_BIND.")
@click.option("--handle", type=int, hidden=True, help="A listening socket that was handed down.")
def web(bind: str | None, handle: int | None) -> None:
    """Start the web server alone."""
    from portal.server import serve

    serve(from_environment(_with_bind(bind)), handle)


@click.command()
@click.option("--queue", "queues", multiple=True, type=click.Choice([TOKENS, MAIL]), help="Only this queue.")
def worker(queues: tuple[str, ...]) -> None:
    """Start one worker alone."""
    from workers import worker as part

    part.main(from_environment(), list(queues) or [TOKENS, MAIL])


@click.command()
def clock() -> None:
    """Start the clock alone."""
    from workers import clock as part

    part.main(from_environment())


@click.command()
def upgrade() -> None:
    """Make database and keys ready for this version."""
    applied = startup.upgrade(from_environment(), now=now())
    click.echo(f"Applied: {', '.join(applied)}." if applied else "Nothing to do.")


@click.command()
def check() -> None:
    """Check configuration, keys, database, Redis and clock."""
    startup.start(from_environment())
    click.echo("Configuration, keys and database: good")
    with connected():
        parts = health.parts(now())
    for part in parts[1:]:
        remedy = f" {part.state.remedy}" if part.state.remedy else ""
        click.echo(f"{part.name}: {part.state.name}, {part.state.word}{'.' if remedy else ''}{remedy}")
    if broken := [part.name for part in parts if part.state.tone == "broken"]:
        raise ConfigError(f"not in good order: {', '.join(broken)}")


commands = (run, web, worker, clock, upgrade, check)
