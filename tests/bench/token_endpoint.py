"""A token endpoint in a separate process; ``GET`` returns the request counts.

Arguments: the milliseconds until an answer, and the lifetime of the access tokens in seconds.
"""

import asyncio
import json
import re
import sys
import time
from urllib.parse import parse_qs


class Endpoint:
    def __init__(self, seconds: float, lifetime: int) -> None:
        self.seconds, self.lifetime = seconds, lifetime
        self.used: dict[str, int] = {}
        self.times: list[float] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        form = await reader.readexactly(int(length[1])) if length else b""
        body = await self.token(form) if head.startswith(b"POST") else self.counts()
        header = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(header.encode() + body)
        await writer.drain()
        writer.close()

    async def token(self, form: bytes) -> bytes:
        self.times.append(time.monotonic())
        used = parse_qs(form.decode())["refresh_token"][0]
        self.used[used] = self.used.get(used, 0) + 1
        await asyncio.sleep(self.seconds)
        self.times.append(time.monotonic())
        body = {
            "access_token": f"a-{used}",
            "refresh_token": f"{used}-next",
            "expires_in": self.lifetime,
            "scope": "mail",
        }
        return json.dumps(body).encode()

    def counts(self) -> bytes:
        """Return the counts since the last call; ``seconds`` runs from the first request to the last response."""
        seconds = max(self.times) - min(self.times) if self.times else 0
        counts = {"requests": sum(self.used.values()), "tokens": len(self.used), "seconds": seconds}
        return json.dumps(counts).encode()


async def main() -> None:
    server = await asyncio.start_server(
        Endpoint(int(sys.argv[1]) / 1000, int(sys.argv[2])).answer, "127.0.0.1", 0, backlog=1000
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
