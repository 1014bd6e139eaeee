"""The fetch queue: a worker fetches many due mail accounts at once, because a fetch mostly waits for its server."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

from portal.core.db import connected
from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import FetchControl
from portal.models import MailAccount, Run, tuples
from portal.system import settings

#: Maximum number of accounts that one process fetches at once, which bounds its memory.
AT_ONCE = 32
#: Maximum seconds between two looks for due accounts.
_TURN_SECONDS = 0.1
#: Due accounts that are read at a time: more than may start, because the servers of the first may be at their limit.
_LOOK_AHEAD = 500

logger = logging.getLogger(__name__)


def fetch_due(control: FetchControl) -> None:
    """Fetch due accounts until none is due and none is being fetched, or ``control`` asks to stop.

    An account that takes long delays no other: its fetch continues while others start and end.
    """
    queue = _FetchQueue(control)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as queue.threads:
        while queue.start_due() or queue.under_way:
            queue.wait()


class _FetchQueue:
    """The fetches of one process."""

    threads: ThreadPoolExecutor

    def __init__(self, control: FetchControl) -> None:
        self._control = control
        #: The account and host of each running fetch.
        self.under_way: dict[Future[None], tuple[int, str]] = {}
        #: Accounts whose fetch ended with an unexpected error: not repeated by this job.
        self._crashed: set[int] = set()

    def start_due(self) -> int:
        """Start as many fetches as allowed, and return their number."""
        if not self._control.keep_going():
            return 0
        with connected():
            started = startable(dict(self.under_way.values()), self._crashed, self._control.clock())
        for account_id, host in started:
            self.under_way[self.threads.submit(_fetch, account_id, self._control)] = account_id, host
        return len(started)

    def wait(self) -> None:
        """Wait until it is time to look for due accounts again."""
        for done in futures.wait(self.under_way, _TURN_SECONDS).done:
            account_id, _ = self.under_way.pop(done)
            if error := done.exception():
                logger.error("Mail account %s: internal error", account_id, exc_info=error)
                self._crashed.add(account_id)


def _fetch(account_id: int, control: FetchControl) -> None:
    with connected():
        run = fetching.fetch(account_id, control)
    if run:
        _log(account_id, run)


def _log(account_id: int, run: Run) -> None:
    logger.info(
        "Mail account %s: fetch %s, %s delivered, %s failed", account_id, run.outcome, run.delivered, run.failed
    )


def startable(own: Mapping[int, str], excluded: Iterable[int], now: datetime) -> list[tuple[int, str]]:
    """Return id and host of the due accounts that this process starts now, longest due first.

    ``own``: host by id of the accounts that it is fetching. It starts half of what may start, so that another worker
    gets its part even if it looks a moment later.
    """
    held = dict(tuples(MailAccount.select(MailAccount.id, MailAccount.host).where(MailAccount.is_held(now))))
    query = MailAccount.select(MailAccount.id, MailAccount.host).where(MailAccount.is_due(now))
    skipped = {*own, *excluded}
    due = [one for one in tuples(query.order_by(MailAccount.due_at).limit(_LOOK_AHEAD)) if one[0] not in skipped]
    occupied = Counter(host.lower() for host in {**held, **own}.values())
    allowed = list(within_limit(due, occupied, settings.mail_connections()))
    return allowed[: min(AT_ONCE - len(own), -(-len(allowed) // 2))]


def within_limit(due: Iterable[tuple[int, str]], occupied: Mapping[str, int], most: int) -> Iterator[tuple[int, str]]:
    """Yield the accounts of ``due`` whose server has fewer than ``most`` connections, with those yielded before."""
    taken = Counter(occupied)
    for account_id, host in due:
        if taken[host.lower()] < most:
            taken[host.lower()] += 1
            yield account_id, host
