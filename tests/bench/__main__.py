"""``make bench``: each benchmark prints its figures and their ratio; ``make bench ONLY=refreshes`` runs one."""

import sys

from tests.bench import access_tokens, fetching, latency, pages, polls, refreshes, sending, thirty_days

BENCHES = {
    "fetching": fetching.main,
    "latency": latency.main,
    "pages": pages.main,
    "polls": polls.main,
    "access-tokens": access_tokens.main,
    "refreshes": refreshes.main,
    "sending": sending.main,
    "thirty-days": thirty_days.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
