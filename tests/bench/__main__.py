"""``make bench``: each bench prints its figures and their ratio; ``make bench ONLY=renewals`` runs one."""

import sys

from tests.bench import fetching, renewals

BENCHES = {"fetching": fetching.main, "renewals": renewals.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        BENCHES[name]()
