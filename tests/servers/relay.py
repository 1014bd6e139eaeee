"""A relay that adds a round-trip time to every connection: ``python -m tests.servers.relay PORT TARGET MILLISECONDS``."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

#: Bytes under way in one direction, as many as a fast line carries during a long round trip.
_UNDER_WAY = 64 * 1024 * 1024
_CHUNK = 256 * 1024


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Write each chunk ``delay`` seconds after it was read, in order."""
    clock = asyncio.get_running_loop().time
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY // _CHUNK)

    async def read() -> None:
        data = b"-"
        while data:
            data = b""
            with suppress(ConnectionError):
                data = await reader.read(_CHUNK)
            await chunks.put((clock() + delay, data))

    reading = asyncio.create_task(read())
    with suppress(ConnectionError):
        while True:
            at, data = await chunks.get()
            await asyncio.sleep(at - clock())
            if not data:
                break
            writer.write(data)
            await writer.drain()
    reading.cancel()
    writer.close()


def handler(target: int, delay: float) -> Callable[..., Coroutine[Any, Any, None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            near = await asyncio.open_connection("127.0.0.1", target, limit=_CHUNK)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_carry(reader, near[1], delay), _carry(near[0], writer, delay))

    return handle


async def main(port: int, target: int, milliseconds: float) -> None:
    server = await asyncio.start_server(handler(target, milliseconds / 2000), "127.0.0.1", port, limit=_CHUNK)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
