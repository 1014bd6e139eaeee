"""``web-service``: manage and call web services (HTTP requests that carry a token)."""

from pathlib import Path
from typing import Any

import click

from portal.cli import diagnosing
from portal.cli.common import actor, as_json, columns, deletes, now, secret_from_stdin, show, show_all, with_portal
from portal.core.errors import PortalError
from portal.models import CallState, ServiceAuth, Validity, WebService, WebServiceCall
from portal.tokens import token_configs
from portal.triggers import triggers
from portal.web_services import calls as calling
from portal.web_services import web_services as services

_SHOWN = ("name", "method", "url", "headers", "body", "authentication", "login", "timeout", "success", "most_tries",
          "occasions", "validity", "comment", "succeeded_at", "failing_since", "failure")  # fmt: skip


@click.group("web-service")
def web_service() -> None:
    """HTTP requests that carry a token: called manually, on events, and as a destination."""


@web_service.command("list")
@as_json
@with_portal
def list_services(in_json: bool) -> None:
    """List the web services and their states."""
    shown = []
    for row in WebService.select().order_by(WebService.name):
        state = services.state(row, now())
        shown.append({"name": row.name, "method": row.method, "url": row.url, "authentication": row.authentication,
                      "occasions": row.triggers, "state": state.name, "why": state.why})  # fmt: skip
    show_all(shown, in_json)


@web_service.command("show")
@click.argument("name")
@as_json
@with_portal
def show_service(name: str, in_json: bool) -> None:
    """Show one web service without its secret."""
    row = WebService.named(name)
    token = row.token.name if row.token else None
    facts = columns(row, _SHOWN)
    show({**facts, "token": token, "private_ca": bool(row.ca), "state": services.state(row, now()).name}, in_json)


def _options(command: Any) -> Any:
    for option in reversed((
        click.option("--method", type=click.Choice(services.METHODS), help="HTTP method."),
        click.option("--header", "headers", multiple=True, metavar="NAME: VALUE",
                     help=f"May contain {services.TOKEN_PLACEHOLDER} or {services.SECRET_PLACEHOLDER}; repeatable."),
        click.option("--body", help="Jinja template; @FILE reads the template from a file."),
        click.option("--authentication", type=click.Choice([one.value for one in ServiceAuth]),
                     help="How the call authenticates."),
        click.option("--login", help="User name for Basic authentication."),
        click.option("--secret-stdin", is_flag=True, help="Read the password or secret from standard input."),
        click.option("--token", metavar="CONFIG[/OWNER]", help="The token to sign in with."),
        click.option("--ca", type=click.Path(exists=True, dir_okay=False), help="PEM file of CAs to trust."),
        click.option("--timeout", type=int, help="Seconds until a call counts as failed."),
        click.option("--success", help="HTTP status codes that mean success, such as 200-299,404."),
        click.option("--tries", "max_attempts", type=int, help="Attempts until a call has failed."),
        click.option("--occasions", "triggers", help=f"Events that trigger a call: {', '.join(triggers.Trigger)}."),
        click.option("--comment", help="A note for people."),
    )):  # fmt: skip
        command = option(command)
    return command


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """The given options, keyed by column name."""
    values = {name: value for name, value in given.items() if value not in (None, ())}
    if "headers" in values:
        values["headers"] = "\n".join(values["headers"])
    if values.get("body", "").startswith("@"):
        values["body"] = _text(values["body"][1:])
    if "ca" in values:
        values["ca"] = _text(values["ca"])
    return values


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PortalError(f"{path}: {error.strerror}") from error


@web_service.command()
@click.option("--name", required=True, help="Name in the portal.")
@click.option("--url", required=True, help="URL that is called.")
@_options
@with_portal
def add(name: str, url: str, token: str | None, secret_stdin: bool, authentication: str | None, **given: Any) -> None:
    """Add a web service."""
    found = token_configs.find(token) if token else None
    how = ServiceAuth(authentication or ("token" if token else "none"))
    entered = services.Fields(name=name, url=url, authentication=how, token=found, **_values(given))
    services.add(entered, secret_from_stdin("Secret") if secret_stdin else None, actor=actor(), now=now())


@web_service.command()
@click.argument("service", metavar="NAME")
@click.option("--name", help="New name.")
@click.option("--url", help="URL that is called.")
@click.option(
    "--validity", type=click.Choice([validity.value for validity in Validity]), help="Whether the web service is used."
)
@_options
@with_portal
def edit(service: str, token: str | None, secret_stdin: bool, **given: Any) -> None:
    """Change a web service. Values not given stay unchanged."""
    row = WebService.named(service)
    values = {name: getattr(row, name) for name in services.Fields.__dataclass_fields__} | _values(given)
    values["authentication"], values["validity"] = ServiceAuth(values["authentication"]), Validity(values["validity"])
    if token:
        values["token"] = token_configs.find(token)
    secret = secret_from_stdin("Secret") if secret_stdin else None
    services.edit(row, services.Fields(**values), secret, actor=actor(), now=now())


@web_service.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete a web service and its call log."""
    services.delete(WebService.named(name), actor=actor(), now=now())


@web_service.command()
@click.argument("name")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="In the body: values.NAME; repeatable.")
@as_json
@with_portal
def call(name: str, pairs: tuple[str, ...], in_json: bool) -> None:
    """Call a web service now. Exit code 1 if the call fails."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise click.UsageError(f"{wrong[0]!r} is not NAME=VALUE.")
    values = dict(pair.split("=", 1) for pair in pairs)
    asked = services.call_by_hand(WebService.named(name), values, actor=actor(), now=now())
    made = calling.call(asked.id, now) or WebServiceCall.get_by_id(asked.id)
    show(_of_call(made), in_json)
    if made.state is not CallState.DONE:
        raise PortalError(made.web_service.failure or "The call failed.")


@web_service.command()
@click.argument("name")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10000), help="At most this many.")
@as_json
@with_portal
def calls(name: str, limit: int, in_json: bool) -> None:
    """List the calls of a web service, latest first."""
    rows = WebService.named(name).calls.order_by(WebServiceCall.id.desc()).limit(limit)
    show_all([_of_call(row) for row in rows], in_json)


def _of_call(row: WebServiceCall) -> dict[str, Any]:
    answer = " ".join((row.answer or "").split())[:100]
    return {"id": row.id, "state": row.state, "status": row.status, "tries": row.tries, "created_at": row.created_at,
            "next_try": row.due_at, "cause": row.cause, "answer": answer}  # fmt: skip


diagnosing.add_to(web_service, WebService.named)
