"""Search in the whole portal."""

from flask import Blueprint, render_template, request

from portal.diagnosis import search as searching

bp = Blueprint("search", __name__, url_prefix="/search")
_LONGEST = 200


@bp.get("")
def index() -> str:
    text = request.args.get("q", "").strip()[:_LONGEST]
    return render_template("search.html", text=text, hits=searching.search(text))
