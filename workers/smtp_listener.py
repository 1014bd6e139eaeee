"""The process of the SMTP listeners."""

import asyncio
import signal
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from aiosmtpd.smtp import SMTP

from portal.core.config import Config
from portal.core.errors import ConfigError
from portal.outgoing import smtp_listener
from portal.outgoing.smtp_listener import Certificate
from portal.runtime import startup


def main(config: Config) -> None:
    """Run the SMTP listeners until the process is stopped."""
    if not (config.submission or config.submission_tls or config.relay):
        raise ConfigError("PORTAL_SUBMISSION: enter host and port, for example 127.0.0.1:2525")
    startup.start(config)
    asyncio.run(_listen(config))


async def _listen(config: Config) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    certificate = _certificate(config)
    listeners: list[tuple[str, tuple[str, int] | None, Callable[[], SMTP], ssl.SSLContext | None]] = [
        ("PORTAL_SUBMISSION", config.submission, partial(smtp_listener.make_server, certificate), None),
        ("PORTAL_SUBMISSION_TLS", config.submission_tls, partial(smtp_listener.make_server, certificate, is_tls=True),
         certificate.context if certificate else None),
        ("PORTAL_RELAY", config.relay, smtp_listener.make_relay, None),
    ]  # fmt: skip
    async with AsyncExitStack() as opened:
        for name, address, factory, context in listeners:
            if address is None:
                continue
            try:
                await opened.enter_async_context(await loop.create_server(factory, *address, ssl=context))
            except OSError as error:
                where = f"{address[0]}:{address[1]}"
                raise ConfigError(f"{name}: {where} cannot be used: {error.strerror}") from error
        await stopped.wait()


def _certificate(config: Config) -> Certificate | None:
    if not (config.submission_certificate and config.submission_key):
        return None
    try:
        return Certificate(config.submission_certificate, config.submission_key)
    except OSError as error:
        text = f"PORTAL_SUBMISSION_CERTIFICATE: the certificate or its key cannot be used: {error}"
        raise ConfigError(text) from error
