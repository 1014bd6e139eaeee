"""The command line, one module per command group. Exit codes: 0 success, 1 failure (one line on stderr), 2 usage."""

import os
from importlib import import_module
from typing import Any

import click

from portal import __version__
from portal.core.errors import PortalError

#: The module of each command, and its name there; a module is loaded when its command is called.
_COMMANDS = {
    "apply": "config_files.apply",
    "export": "config_files.export_all",
    "encrypt-secret": "config_files.encrypt_secret",
    "restore": "backup.restore",
    "completion": "completion.completion",
    "run": "operation.run",
    "web": "operation.web",
    "worker": "operation.worker",
    "clock": "operation.clock",
    "push": "operation.push",
    "submission": "operation.submission",
    "upgrade": "operation.upgrade",
    "audit": "audit.audit",
    "backup": "backup.backup",
    "check": "operation.check",
    "support-bundle": "operation.support_bundle",
    "user": "users.user",
    "settings": "settings.settings",
    "token-config": "token_configs.token_config",
    "token": "tokens.token",
    "mail-account": "mail_accounts.mail_account",
    "quarantine": "quarantine.quarantine",
    "communication-log": "communication_log.communication_log",
    "destination": "destinations.destination",
    "outbound": "outbound.outbound",
    "web-service": "web_services.web_service",
    "api-key": "api_keys.api_key",
    "keys": "keys.keys",
    "notice": "notices.notice",
    "notice-channel": "notice_channels.notice_channel",
    "sendmail": "sendmail.sendmail",
}


class _Portal(click.Group):
    """A clock, for example, does not load the web server: all processes of the portal start by this command line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(".")
        command: click.Command = getattr(import_module(f"portal.cli.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PortalError as error:
            raise click.ClickException(str(error)) from error


@click.version_option(__version__, prog_name="Mail Token Portal", message="%(prog)s %(version)s")
@click.group(cls=_Portal, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def portal() -> None:
    """Mail Token Portal: refreshes the OAuth 2.0 tokens of mailboxes, fetches mail and sends mail."""


def main() -> None:
    # Nothing that the portal writes is for other users of this host.
    os.umask(0o077)
    portal(prog_name="python -m portal", complete_var="_MAIL_TOKEN_PORTAL_COMPLETE")
