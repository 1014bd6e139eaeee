"""The command line, one module per command group. Exit codes: 0 success, 1 failure (one line on stderr), 2 usage."""

from typing import Any

import click

from portal.cli import (
    api_keys,
    destinations,
    mail_accounts,
    notices,
    operation,
    outbound,
    sendmail,
    settings,
    token_configs,
    tokens,
    users,
    web_services,
)
from portal.core.errors import PortalError


class _Portal(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PortalError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Portal, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def portal() -> None:
    """Mail Token Portal: refreshes the OAuth 2.0 tokens of mailboxes, fetches mail and sends mail."""


for command in (*operation.commands, users.user, settings.settings, token_configs.token_config, tokens.token):
    portal.add_command(command)
for group in (mail_accounts.mail_account, destinations.destination, outbound.outbound, web_services.web_service):
    portal.add_command(group)
portal.add_command(api_keys.api_key)
portal.add_command(notices.notice)
portal.add_command(sendmail.sendmail)


def main() -> None:
    portal(prog_name="python -m portal")
