"""Commands that start the portal or one of its processes, upgrade it and check it."""

import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import click

from portal.cli.common import actor, now
from portal.core import log
from portal.core.config import Config, from_environment, parse_bind
from portal.core.db import connected
from portal.protocols import tls
from portal.runtime import embedded_redis, startup
from portal.runtime.supervisor import Part, listen, listen_locally, only_one, supervise
from portal.system import settings
from portal.system.job_queue import MAIL, OUT, TOKENS

#: As many as ProviderRequests is by default: a worker refreshes one token after the other.
_TOKEN_WORKERS = 4


@click.command()
@click.option("--bind", metavar="HOST:PORT", help="Overrides PORTAL_BIND.")
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that fetch mail; each fetches up to 32 mailboxes at once.",
)
@click.option("--sandbox", is_flag=True, help="Include a test provider, a test mail server and example data.")
def run(bind: str | None, workers: int, sandbox: bool) -> None:
    """Start the whole portal: embedded Redis, web server, workers, listeners and clock."""
    config = from_environment(_with_bind(bind))
    log.set_up(config.log_format)
    startup.forbid_core_files()
    startup.make_data_folder(config.data_dir)
    with only_one(config.data_dir), ExitStack() as opened:
        handles = [opened.enter_context(listen(config.bind_host, config.bind_port)).fileno()]
        if config.local_socket:
            handles.append(opened.enter_context(listen_locally(config.local_socket, config.local_group)).fileno())
        if config.proxy_socket:
            proxy = listen_locally(config.proxy_socket, config.proxy_group, "PORTAL_PROXY_SOCKET")
            handles.append(opened.enter_context(proxy).fileno())
        _prepare(config)
        parts = [*_redis(config), _web(handles), *_submission(config), *_background(workers)]
        environment = {"PORTAL_BIND": config.address, "PORTAL_DATA": str(config.data_dir)}
        if sandbox:
            from portal.sandbox import part

            sandbox_part, more = part.prepare(config, now=now())
            parts.insert(0, sandbox_part)
            environment |= more
        sys.exit(supervise(parts, environment, lambda: _greet(config, sandbox, environment)))


def _prepare(config: Config) -> None:
    """Check the configuration and upgrade the database, before any process is started."""
    tls.trust(config.ca_file)
    tls.client_context()
    if config.redis_url:
        startup.wait_for_redis(startup.redis(config))
    startup.upgrade(config, now=now())
    with connected():
        settings.remember_address(config.address, now=now())


def _with_bind(bind: str | None) -> dict[str, str]:
    import os

    if bind:
        parse_bind(bind)
    return {**os.environ, **({"PORTAL_BIND": bind} if bind else {})}


def _redis(config: Config) -> list[Part]:
    return [] if config.redis_url else [Part("redis", embedded_redis.command(config))]


def _web(handles: list[int]) -> Part:
    options = [option for handle in handles for option in ("--handle", str(handle))]
    return Part("web", _portal("web", *options), handles=tuple(handles))


def _submission(config: Config) -> list[Part]:
    is_wanted = config.submission or config.submission_tls or config.relay
    return [Part("submission", _portal("submission"))] if is_wanted else []


def _background(workers: int) -> list[Part]:
    """The background processes. Tokens and outgoing mail have their own workers, so slow fetches cannot delay them."""
    for module in ("clock", "push", "worker"):
        import_module(f"workers.{module}")
    mail = [_forked(f"worker-{number}", "worker") for number in range(1, workers + 1)]
    tokens = [
        _forked(f"worker-tokens-{number}", "worker", "--queue", TOKENS) for number in range(1, _TOKEN_WORKERS + 1)
    ]
    out = _forked("worker-out", "worker", "--queue", OUT)
    return [*tokens, out, *mail, _forked("push", "push"), _forked("clock", "clock")]


def _forked(name: str, *arguments: str) -> Part:
    """A background process that is forked from this one, whose modules are loaded once for all."""
    command = click.get_current_context().find_root().command
    return Part(name, _portal(*arguments), run=lambda: command.main(arguments, prog_name="python -m portal"))


def _portal(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "portal", *arguments]


def _greet(config: Config, sandbox: bool, environment: dict[str, str]) -> None:
    from portal.sandbox import addresses, part, seed

    click.echo(f"\n  Mail Token Portal is at  http://{config.address}/")
    if sandbox:
        click.echo(f"  Sign in as  {seed.ADMIN}  with the password  {seed.ADMIN_PASSWORD}")
        click.echo(f"  The sandbox's provider is at  {addresses.Addresses.of(config).provider}/")
        named = " ".join(f"{name}={environment[name]}" for name in ("PORTAL_DATA", "PORTAL_CA_FILE"))
        click.echo(f"  On the command line:  {named} {sys.executable} -m portal …")
    elif part.is_demo(config):
        click.echo(
            "  Warning: the demo created this data folder, and its admin password is public. Use another in production."
        )
    else:
        _greet_first_admin(config)
    for text in config.exposures:
        click.echo(f"  Warning: {text}")
    click.echo("  Press Ctrl-C to stop the portal.\n")


def _greet_first_admin(config: Config) -> None:
    from portal.access import users

    with connected():
        key = users.new_setup_link(now=now())
    if key:
        click.echo(f"  Create the first admin at  http://{config.address}/setup/{key.reveal()}")
        click.echo("  (valid once, for 24 hours; or run: python -m portal user add NAME --role admin)")


@click.command()
@click.option("--bind", metavar="HOST:PORT", help="Overrides PORTAL_BIND.")
@click.option("--handle", "handles", type=int, multiple=True, hidden=True, help="Inherited socket (descriptor).")
def web(bind: str | None, handles: tuple[int, ...]) -> None:
    """Start only the web server."""
    from portal.web.server import serve

    serve(from_environment(_with_bind(bind)), handles)


@click.command()
@click.option("--queue", "queues", multiple=True, type=click.Choice([TOKENS, MAIL, OUT]), help="Queue to serve.")
def worker(queues: tuple[str, ...]) -> None:
    """Start one worker."""
    from workers import worker as background

    background.main(from_environment(), list(queues) or [TOKENS, MAIL, OUT])


@click.command()
def submission() -> None:
    """Start only the SMTP listener (PORTAL_SUBMISSION)."""
    from workers import smtp_listener as background

    background.main(from_environment())


@click.command()
def clock() -> None:
    """Start only the clock, which enqueues due work."""
    from workers import clock as background

    background.main(from_environment())


@click.command()
def push() -> None:
    """Start only the push listener (IMAP IDLE)."""
    from workers import push as background

    background.main(from_environment())


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Only list what is missing. Exit code 2 if something is.")
def upgrade(only_check: bool) -> None:
    """Upgrade the database to this version; create the key file if it is missing."""
    if only_check:
        missing = startup.missing_migrations(from_environment())
        click.echo(f"Missing: {', '.join(missing)}." if missing else "The database is up to date.")
        raise click.exceptions.Exit(2 if missing else 0)
    applied = startup.upgrade(from_environment(), now=now())
    click.echo(f"Applied: {', '.join(applied)}." if applied else "The database is up to date.")


@click.command()
def check() -> None:
    """Check the portal, as a Nagios or Icinga plugin. Exit codes: 0 OK, 1 warning, 2 critical, 3 unknown."""
    from portal.cli import nagios
    from portal.monitoring import health_report

    try:
        config = from_environment()
        startup.start(config)
        with connected():
            found = health_report.report(now())
    except Exception as error:  # noqa: BLE001 - the exit code 1 of a traceback would mean "warning"
        click.echo(f"PORTAL UNKNOWN - {' '.join(str(error).split())}")
        raise click.exceptions.Exit(3) from None
    for line in nagios.lines(found, config.exposures):
        click.echo(line)
    raise click.exceptions.Exit(nagios.EXIT[nagios.severity(found, config.exposures)])


@click.command("support-bundle")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def support_bundle(file: Path | None) -> None:
    """Write the state of the portal to a zip file for a ticket, without secrets and email addresses."""
    from portal.diagnosis import support_bundle as bundles

    config = from_environment()
    startup.start(config)
    with connected():
        content = bundles.create(config, actor=actor(), now=now())
    path = file or Path(f"support-bundle-{now():%Y-%m-%d}.zip")
    path.touch(0o600)
    path.write_bytes(content)
    click.echo(f"Written: {path}. Read its files before you pass it on.")
