"""``make bench``: each benchmark prints its figures and their ratio; ``make bench ONLY=renewals`` runs one."""

import sys

from tests.bench import access_tokens, fetching, renewals, sending, thirty_days

BENCHES = {
    "fetching": fetching.main,
    "hand-outs": access_tokens.main,
    "renewals": renewals.main,
    "sending": sending.main,
    "thirty-days": thirty_days.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
