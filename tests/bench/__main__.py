"""``make bench``: each benchmark prints its figures and their ratio; ``make bench ONLY=refreshes`` runs one."""

import sys

from tests.bench import (
    access_tokens,
    config_files,
    fetching,
    graph,
    latency,
    pages,
    polls,
    push,
    refreshes,
    sending,
    slow_clients,
    soak,
    thirty_days,
)

BENCHES = {
    "config-files": config_files.main,
    "fetching": fetching.main,
    "graph": graph.main,
    "latency": latency.main,
    "pages": pages.main,
    "polls": polls.main,
    "push": push.main,
    "access-tokens": access_tokens.main,
    "refreshes": refreshes.main,
    "sending": sending.main,
    "slow-clients": slow_clients.main,
    "soak": soak.main,
    "thirty-days": thirty_days.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
