"""``token-config``: manage token configurations (clients registered at providers)."""

from datetime import UTC, datetime
from typing import Any, BinaryIO

import click

from portal import providers
from portal.cli import diagnosing
from portal.cli.common import actor, as_json, columns, deletes, now, secret_from_stdin, show, show_all, with_portal
from portal.core.errors import PortalError, Refused
from portal.models import ClientAuth, Flow, TokenConfig, Validity
from portal.system import redirect_uri
from portal.tokens import (
    client_registration,
    config_fields,
    export_approval,
    import_export,
    provider_lookup,
    service_account,
    token_configs,
)
from portal.tokens.config_fields import Fields, NewSecret

_SHOWN = (
    "name", "template", "flow", "tenant", "client_id", "client_auth", "authorize_url", "token_url", "refresh_url",
    "device_url", "revocation_url", "scope", "issuer", "jwks_url", "userinfo_url", "validity", "notify_expired_token",
    "notify_expired_refresh_token", "in_testing", "assertion_file", "app_object_id", "created_at",
    "changed_at",
)  # fmt: skip


@click.group("token-config")
def token_config() -> None:
    """Token configurations: clients registered at OAuth 2.0 providers."""


@token_config.command()
@as_json
def templates(in_json: bool) -> None:
    """List the provider templates."""
    show_all([{"template": template.key, "name": template.name} for template in providers.offered()], in_json)
    for line in providers.broken():
        click.echo(f"Warning: {line}", err=True)


@token_config.command("list")
@as_json
@with_portal
def list_configs(in_json: bool) -> None:
    """List the token configurations."""
    columns = ("name", "template", "client_id", "validity")
    rows = TokenConfig.select().order_by(TokenConfig.name)
    show_all([{name: getattr(row, name) for name in columns} for row in rows], in_json)


@token_config.command("show")
@click.argument("name")
@as_json
@with_portal
def show_config(name: str, in_json: bool) -> None:
    """Show one token configuration without its client secret."""
    row = TokenConfig.named(name)
    secret = row.client_secret
    facts = columns(row, _SHOWN)
    show(
        {
            **facts,
            "client_secret_set_at": secret.set_at if secret else None,
            "client_secret_ends_at": secret.ends_at if secret else None,
            "redirect_uri": redirect_uri.uri(),
        },
        in_json,
    )


def _options(command: Any) -> Any:
    for option in reversed((
        click.option("--client-id", help="Client ID that the provider shows for the registered client."),
        click.option("--client-secret-stdin", is_flag=True, help="Read the client secret from standard input."),
        click.option("--service-account-key", "key_file", type=click.File("rb"), help="JSON key of a Google account."),
        click.option("--scope", help="Scopes to request, separated by spaces. Default: those of the template."),
        click.option("--authorize-parameters", metavar="NAME=VALUE&…", help="Of the authorization request."),
        click.option("--token-parameters", metavar="NAME=VALUE&…", help="Of the token requests."),
        click.option("--tenant", help="Tenant ID or domain, if the template has a tenant."),
        click.option("--authorize-url", help="URL for authorization code."),
        click.option("--token-url", help="URL for token by authorization code."),
        click.option("--refresh-url", help="URL for token by refresh token."),
        click.option("--device-url", help="URL for device code."),
        click.option("--revocation-url", help="URL for revocation."),
        click.option("--client-auth", type=click.Choice([auth.value for auth in ClientAuth]),
                     help="How the client authenticates at the provider."),
        click.option("--assertion-file", metavar="PATH", help="Client assertion that another program keeps fresh."),
        click.option("--app-object-id", help="Object ID of the app registration where the certificate is renewed."),
        click.option("--secret-ends-on", type=click.DateTime(["%Y-%m-%d"]), help="Expiry date of the client secret."),
        click.option("--in-testing/--in-production", default=None, help="State of Google's consent screen."),
        click.option("--issuer", help="Issuer of the ID tokens."),
        click.option("--jwks-url", help="URL for signing keys."),
        click.option("--userinfo-url", help="URL for user information."),
        click.option("--notify-expired-token/--no-notify-expired-token", default=None,
                     help="Whether banners announce an expired token."),
        click.option("--notify-expired-refresh-token/--no-notify-expired-refresh-token", default=None,
                     help="Whether banners announce an expired refresh token."),
    )):  # fmt: skip
        command = option(command)
    return command


@token_config.command()
@click.option("--name", required=True, help="Name in the portal.")
@click.option("--template", required=True, help="Template name; list them with: token-config templates.")
@click.option("--discover", metavar="ISSUER", help="Read the endpoints from the OpenID Connect discovery document.")
@_options
@with_portal
def add(
    name: str,
    template: str,
    discover: str | None,
    client_id: str | None,
    client_secret_stdin: bool,
    tenant: str | None,
    key_file: BinaryIO | None,
    **given: Any,
) -> None:
    """Add a token configuration."""
    preset = providers.find(template)
    if discover:
        found = token_configs.discovered(discover)
        given |= {key: value for key, value in found.items() if key in given and not given[key]}
    secret = _secret(client_secret_stdin, given.pop("secret_ends_on"))
    if preset.flow == Flow.AUTHORIZATION_CODE:
        given["refresh_url"] = given["refresh_url"] or given["token_url"]
    if key_file:
        client_id, secret = _key(key_file)
    if given["client_auth"]:
        given["client_auth"] = ClientAuth(given["client_auth"])
    entered = config_fields.from_template(preset, name=name, client_id=client_id or "", tenant=tenant or "", **given)
    token_configs.add(preset, entered, secret, actor=actor(), now=now())


@token_config.command()
@click.argument("address")
@as_json
@with_portal
def find(address: str, in_json: bool) -> None:
    """Find the provider of an email address: the template, or the issuer for: token-config add --discover."""
    found = provider_lookup.by_address(address)
    show({"template": found.template.key, "issuer": found.issuer, "found": " ".join(found.how)}, in_json)


@token_config.command()
@click.option("--name", required=True, help="Name in the portal.")
@click.option("--issuer", required=True, help="A provider that registers clients itself (RFC 7591).")
@click.option("--template", default="generic", show_default=True, help="Template of the provider.")
@click.option("--initial-token-stdin", is_flag=True, help="Read the initial access token from standard input.")
@with_portal
def register(name: str, issuer: str, template: str, initial_token_stdin: bool) -> None:
    """Register the portal as a client at a provider, and add the token configuration."""
    token = secret_from_stdin("Initial access token") if initial_token_stdin else None
    client_registration.register(
        providers.find(template), name=name, issuer=issuer, initial_token=token, actor=actor(), now=now()
    )


@token_config.command()
@click.argument("config")
@click.option("--name", help="New name.")
@click.option(
    "--validity",
    type=click.Choice([validity.value for validity in Validity]),
    help="Whether the token configuration is used.",
)
@_options
@with_portal
def edit(config: str, client_secret_stdin: bool, key_file: BinaryIO | None, **given: Any) -> None:
    """Change a token configuration. Values not given stay unchanged; tokens are kept."""
    row = TokenConfig.named(config)
    secret = _secret(client_secret_stdin, given.pop("secret_ends_on"))
    if secret.ends_at is None and secret.value is None and row.client_secret:
        secret = NewSecret(None, row.client_secret.ends_at)
    values = {name: getattr(row, name) for name in Fields.__dataclass_fields__}
    values |= {name: value for name, value in given.items() if value is not None}
    if key_file:
        values["client_id"], secret = _key(key_file)
    choices = {"validity": Validity(values["validity"]), "client_auth": ClientAuth(values["client_auth"])}
    entered = Fields(**{**values, **choices})
    token_configs.edit(row, entered, secret, actor=actor(), now=now())


def _key(file: BinaryIO) -> tuple[str, NewSecret]:
    """The client ID and the secret of a service account."""
    client_id, key = service_account.read_key(file.read(20_000).decode("utf-8", "replace"))
    return client_id, NewSecret(key)


def _secret(from_stdin: bool, ends_on: datetime | None) -> NewSecret:
    ends_at = ends_on.replace(tzinfo=UTC) if ends_on else None
    return NewSecret(secret_from_stdin("Client secret") if from_stdin else None, ends_at)


@token_config.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete a token configuration with its tokens, unless it is in use."""
    token_configs.delete(TokenConfig.named(name), actor=actor(), now=now())


@token_config.command("export")
@click.argument("name", required=False)
@click.option("--with-secrets", is_flag=True, help="Export client secrets in plain text.")
@click.option("--passphrase-stdin", is_flag=True, help="Export client secrets encrypted with a passphrase from stdin.")
@with_portal
def export_configs(name: str | None, with_secrets: bool, passphrase_stdin: bool) -> None:
    """Print one or all token configurations as YAML, by default without client secrets."""
    passphrase = secret_from_stdin("Passphrase") if passphrase_stdin else None
    names = [name] if name else None
    if (with_secrets or passphrase) and export_approval.is_needed():
        raise Refused("FourEyes is set: export secrets on the page Import and export.")
    click.echo(
        import_export.export(names, secrets=with_secrets, passphrase=passphrase, actor=actor(), now=now()),
        nl=False,
    )


@token_config.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--overwrite", is_flag=True, help="Overwrite configurations with the same name.")
@click.option("--dry-run", is_flag=True, help="Show the changes without applying them.")
@click.option("--passphrase-stdin", is_flag=True, help="Passphrase of the encrypted client secrets, read from stdin.")
@click.option(
    "--owner", nargs=2, multiple=True, metavar="NAME ADDRESS", help="The only mailbox that may sign in; repeatable."
)
@as_json
@with_portal
def import_configs(
    file: BinaryIO,
    overwrite: bool,
    dry_run: bool,
    passphrase_stdin: bool,
    owner: tuple[tuple[str, str], ...],
    in_json: bool,
) -> None:
    """Import token configurations from a YAML file of the portal or Znuny. If one is refused, none is imported."""
    passphrase = secret_from_stdin("Passphrase") if passphrase_stdin else None
    steps = import_export.plan(file.read(), overwrite=overwrite, passphrase=passphrase)
    rows = [
        {
            "name": step.name,
            "verdict": step.verdict,
            "fields": ", ".join(change.field for change in step.changes),
            "changes": "; ".join(map(str, step.changes)),
            "why": _why(step),
        }
        for step in steps
    ]
    show_all(rows, in_json)
    if not dry_run:
        import_export.apply(steps, owners=dict(owner), actor=actor(), now=now())
    if refused := sum(step.verdict is import_export.Verdict.REFUSED for step in steps):
        raise PortalError(f"{refused} of {len(steps)} token configurations refused")


def _why(step: import_export.Step) -> str:
    return " ".join([step.why, *step.notes]).strip()


diagnosing.add_to(token_config, TokenConfig.named)
