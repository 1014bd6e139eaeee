"""Mail folders at Microsoft Graph, named by a path of display names such as ``Inbox/Support``.

https://learn.microsoft.com/graph/api/resources/mailfolder
"""

from collections.abc import Iterator
from urllib.parse import quote

from portal.core.errors import Unavailable
from portal.protocols.graph import Graph, NotThere, entries, is_id
from portal.protocols.token_responses import one_line

#: Well-known names, which are the same in every language of a mailbox.
_WELL_KNOWN = (
    "archive", "clutter", "conflicts", "conversationhistory", "deleteditems", "drafts", "inbox", "junkemail",
    "localfailures", "msgfolderroot", "outbox", "recoverableitemsdeletions", "scheduled", "sentitems",
    "serverfailures", "syncissues",
)  # fmt: skip
#: Levels of folders that are listed.
_DEEPEST = 20
_QUERY = "$select=id,displayName,childFolderCount&includeHiddenFolders=true"


def key(graph: Graph, folder: str) -> str:
    """The key of an existing folder in a path. NotThere names the folders that exist beside the missing one."""
    first, *others = _parts(folder)
    found = first.lower() if first.lower() in _WELL_KNOWN else _child(graph, "msgfolderroot", first)
    for name in others:
        found = _child(graph, found, name)
    return quote(found, safe="")


def count(graph: Graph, folder: str) -> int:
    """The number of messages in an existing folder. NotThere as ``key``."""
    total = graph.facts("GET", f"/mailFolders/{key(graph, folder)}?$select=totalItemCount").get("totalItemCount")
    return total if isinstance(total, int) else 0


def made(graph: Graph, folder: str) -> str:
    """The ID of a folder, created if missing."""
    first, *others = _parts(folder)
    found = first.lower() if first.lower() in _WELL_KNOWN else _child_or_new(graph, "msgfolderroot", first)
    for name in others:
        found = _child_or_new(graph, found, name)
    return found


def names(graph: Graph) -> list[str]:
    """The paths of all folders."""
    return sorted(_below(graph, "msgfolderroot", "", _DEEPEST))


def _below(graph: Graph, parent: str, path: str, levels: int) -> Iterator[str]:
    for folder_id, name, children in _children(graph, parent):
        yield f"{path}{name}"
        if children and levels:
            yield from _below(graph, folder_id, f"{path}{name}/", levels - 1)


def _parts(folder: str) -> list[str]:
    return [part for part in folder.split("/") if part] or ["inbox"]


def _children(graph: Graph, parent: str) -> Iterator[tuple[str, str, bool]]:
    for page in graph.pages(f"/mailFolders/{quote(parent, safe='')}/childFolders?{_QUERY}"):
        for entry in entries(page):
            yield entry["id"], one_line(entry.get("displayName")), bool(entry.get("childFolderCount"))


def _child(graph: Graph, parent: str, name: str) -> str:
    """Folder names are the same in any case."""
    there = {shown.casefold(): folder_id for folder_id, shown, _ in _children(graph, parent)}
    if name.casefold() in there:
        return there[name.casefold()]
    raise NotThere(f"{graph.host} has no folder {name!r} there, only {', '.join(sorted(there)) or 'none'}.")


def _child_or_new(graph: Graph, parent: str, name: str) -> str:
    try:
        return _child(graph, parent, name)
    except NotThere:
        path = f"/mailFolders/{quote(parent, safe='')}/childFolders"
        made_id = graph.facts("POST", path, {"displayName": name}).get("id")
        if not is_id(made_id):
            raise Unavailable(f"{graph.host} created the folder {name!r}, but answered no ID.") from None
        return str(made_id)
