"""Distribution of the tests on real servers over processes."""

import pytest
from xdist.scheduler import LoadScopeScheduling

#: The files of real tests that take longest.
_LONGEST = (
    "test_two_machines", "test_image", "test_power_cut", "test_kill", "test_main_job", "test_sending", "test_demo",
    "test_refresh", "test_faults", "test_cuts",
)  # fmt: skip
_SERVERS = ("sqlite", "postgresql", "first-half", "second-half")


class ByServers(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Tests that share their servers run in one process, in order: the tests of a file with the same database.

    pytest-xdist's own ``loadgroup`` forms no groups with pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return "-".join([file, *(one for one in _SERVERS if f"[{one}" in name)])


def rank(item: pytest.Item) -> int:
    """Sorting key: tests with fakes stay in their order, then come the real tests, the longest files first."""
    if not (item.get_closest_marker("real") or item.get_closest_marker("browser")):
        return -1
    return _LONGEST.index(item.path.stem) if item.path.stem in _LONGEST else len(_LONGEST)
