"""The process of the SMTP listener."""

import asyncio
import signal

from portal.core.config import Config
from portal.core.errors import ConfigError
from portal.outgoing import smtp_listener
from portal.runtime import startup


def main(config: Config) -> None:
    """Run the SMTP listener until the process is stopped."""
    if config.submission is None:
        raise ConfigError("PORTAL_SUBMISSION: enter host and port, for example 127.0.0.1:2525")
    startup.start(config)
    asyncio.run(_listen(*config.submission))


async def _listen(host: str, port: int) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        server = await loop.create_server(smtp_listener.make_server, host, port)
    except OSError as error:
        raise ConfigError(f"PORTAL_SUBMISSION: {host}:{port} cannot be used: {error.strerror}") from error
    async with server:
        await stopped.wait()
