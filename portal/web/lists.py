"""What the URL of a list asks for, and URLs of the same list with changes."""

from collections.abc import Collection
from typing import Any

from flask import request, url_for
from werkzeug.datastructures import MultiDict

from portal.core.paging import SIZES, Asked

_LONGEST = 200
#: The parts of a list's URL that stay when another part changes; the last ones belong to single lists.
_KEPT = ("q", "state", "sort", "desc", "size", "cause", "profile", "hours", "account", "days", "actor", "action")


def asked(states: Collection[str], given: MultiDict[str, str] | None = None, *, latest_first: bool = False) -> Asked:
    """Read the URL, or ``given``; a value that the list does not know counts as missing.

    ``latest_first``: the order of a log for a reader who has chosen none.
    """
    given = request.args if given is None else given
    state, size = given.get("state", ""), given.get("size", SIZES[0], type=int)
    return Asked(
        text=given.get("q", "").replace("\0", "").strip()[:_LONGEST],
        state=state if state in states else "",
        sort=given.get("sort", ""),
        descending="desc" in given or (latest_first and "sort" not in given),
        number=max(given.get("page", 1, type=int), 1),
        size=size if size in SIZES else SIZES[0],
    )


def changed_url(**changes: Any) -> str:
    """URL of the shown list with changed values, on its first page; None removes a value."""
    kept = {name: request.args[name] for name in _KEPT if name in request.args}
    values: dict[str, Any] = {**(request.view_args or {}), **kept, **changes}
    return url_for(str(request.endpoint), **values)
