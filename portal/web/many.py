"""Actions on the selected rows of a list, or on all rows that its filter matches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import abort, g, render_template, request, url_for
from flask_login import current_user

from portal.access import operator_limits
from portal.core import many
from portal.core.language import Text, _
from portal.core.paging import Asked, Listing
from portal.models import Role, Row
from portal.web import permissions

#: Failed rows that the progress names; the list shows all.
_SHOWN = 25


@dataclass(frozen=True)
class Action:
    """``act`` is called with row, actor and time. ``question``: asked before, with ``{count}``; empty: none.

    ``ended_by_workers``: the action makes the rows due, and the page shows how far the workers have come.
    """

    label: str
    act: Callable[..., object]
    role: Role = Role.OPERATOR
    question: str = ""
    ended_by_workers: bool = False


@dataclass(frozen=True)
class Progress:
    """``ids``: the rows that were made due at ``since``. ``failed``: those of them that failed, the first ones."""

    ids: list[int]
    since: datetime
    ended: int
    failures: int
    failed: list[Any]


def may_choose() -> bool:
    """Whether the user may act on many rows; an operator of named configurations acts on each row alone."""
    return current_user.may(Role.OPERATOR) and not operator_limits.is_limited(permissions.me().user)


def offered(actions: Mapping[str, Action]) -> list[tuple[str, str]]:
    """The actions that the user may choose."""
    if not may_choose():
        return []
    return [(key, action.label) for key, action in actions.items() if current_user.may(action.role)]


def answer(actions: Mapping[str, Action], listing: Listing, query: Any, endpoint: str) -> str:
    """Do the submitted action and return the page with the outcome of each row, or with the question before it.

    ``query`` selects all rows of the list, ``endpoint`` shows it.
    """
    action = actions.get(request.form.get("action", ""))
    if action is None:
        abort(400, _("Choose an action, then press Apply."))
    if not current_user.may(action.role):
        abort(403)
    ids = _chosen(listing, query)
    rows: list[Row] = list(query.where(query.model.id.in_(ids)).order_by(query.model.id)) if ids else []
    back = url_for(endpoint, q=request.form.get("q") or None, state=request.form.get("state") or None)
    if action.question and "confirmed" not in request.form:
        return render_template(
            "many/question.html", action=action, question=Text(action.question, count=len(rows)), rows=rows, back=back
        )
    return done(action, rows, back)


def done(action: Action, rows: list[Row], back: str) -> str:
    """Do the action and return the page with the outcome of each row."""
    actor, now = permissions.actor(), g.now
    outcomes = many.each(rows, lambda row: action.act(row, actor=actor, now=now))
    ids = [one.row.id for one in outcomes if not one.failure]
    under_way = _progress(type(rows[0]), ids, now) if ids and action.ended_by_workers else None
    return render_template("many/outcome.html", action=action, outcomes=outcomes, progress=under_way, back=back)


def progress(model: type[Row], endpoint: str) -> str:
    """Return the page with the progress of the rows of an earlier action; ``endpoint`` shows the list."""
    try:
        since = datetime.fromisoformat(request.form.get("since", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        abort(400, _("The request does not say since when. Go back to the list and choose again."))
    under_way = _progress(model, request.form.getlist("id", type=int), since)
    return render_template("many/progress.html", progress=under_way, back=url_for(endpoint))


def _progress(model: Any, ids: list[int], since: datetime) -> Progress:
    chosen = model.select().where(model.id.in_(ids))
    outstanding = model.select(model.id).where(model.id.in_(ids), model.is_outstanding(since, g.now))
    failed = chosen.where(model.failed_at >= since, model.id.not_in(outstanding)).order_by(model.id)
    ended = len(ids) - outstanding.count()
    return Progress(ids, since, ended, failed.count(), list(failed.limit(_SHOWN)))


def _chosen(listing: Listing, query: Any) -> list[int]:
    if "every" in request.form:
        state = request.form.get("state", "")
        if state and state not in listing.states:
            abort(400, _("The list has no such state. Go back to the list and choose again."))
        return listing.ids(query, Asked(text=request.form.get("q", ""), state=state))
    return request.form.getlist("id", type=int)
