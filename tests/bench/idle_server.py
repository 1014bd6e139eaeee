"""An IMAPS server that accepts every sign-in and waits in IDLE: ``python -m tests.bench.idle_server PORT FOLDER``."""

import asyncio
import sys
from pathlib import Path

from portal.sandbox import certificates


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR IDLE] ready\r\n")
    idling = b""
    while line := await reader.readline():
        tag, _, command = line.partition(b" ")
        if line.strip() == b"DONE":
            writer.write(idling + b" OK done\r\n")
        elif command.startswith(b"IDLE"):
            idling = tag
            writer.write(b"+ idling\r\n")
        elif command.startswith(b"AUTHENTICATE"):
            writer.write(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] signed in\r\n")
        elif command.startswith((b"SELECT", b"EXAMINE")):
            writer.write(
                b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] valid\r\n* OK [UIDNEXT 1] next\r\n" + tag + b" OK done\r\n"
            )
        else:
            writer.write(tag + b" OK done\r\n")
    writer.close()


async def main(port: int, folder: Path) -> None:
    context = certificates.server_context(folder)
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
