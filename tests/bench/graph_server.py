"""The tests' Graph server with some messages, in a process of its own: ``CERTIFICATES COUNT SIZE``; prints its port."""

import sys
from pathlib import Path
from threading import Event

from tests.bench.latency import messages
from tests.fakes.graph_server import GraphServer

if __name__ == "__main__":
    server = GraphServer(Path(sys.argv[1]))
    server.receives(*messages(int(sys.argv[2]), int(sys.argv[3])))
    print(server.port, flush=True)
    Event().wait()
