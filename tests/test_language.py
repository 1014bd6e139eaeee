"""Texts use the field's words: the phrases of the old dialect stay out of pages, mails, causes, docs, code and logs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Phrases that a reader without a glossary does not understand; each matches at word boundaries, in any case.
PHRASES = [
    "mend", "mends", "mended", "they say", "well again", "what needs a person", "stand still", "stands still",
    "standing still", "in trouble that may pass", "known to somebody", "in vain", "here alone", "a matter of the",
    "came to nothing", "come to nothing", "comes to nothing", "opens nothing", "the messages that it is at",
    "take something out", "no provider tells", "dead if unused", "talks without end", "is told again", "told by mail",
    "letter for letter", "to be confirmed", "no end known", "kept alive", "lets us in", "a second command works",
    "on their way out", "has taken / does", "goes past everything", "whoever", "somebody", "nobody", "sign of life",
    "signs of life", "hears nothing", "hears of", "rule of thumb", "rules of thumb", "ladder", "rung", "second chance",
    "giving up", "lend", "lends", "lending", "borrow", "borrows", "borrowed", "borrowing", "hand-out", "hand-outs",
    "handed out", "hand out", "occasion", "occasions", "sealed", "unsealed", "guessing", "in the clear", "by itself",
    "by themselves", "goes on", "go on by", "taken on", "takes on", "failed inside", "cries wolf", "hiccup",
    "the other side", "of its own accord", "piles up", "pile up", "comes back", "gives back", "has need of", "verb",
    "verbs", "in force", "catalogue", "organisation", "recognise", "behaviour", "colour", "licence", "cancelled by",
]  # fmt: skip
#: Names that programs and stored data rely on, and what other parties say.
ALLOWED = re.compile(r"no end known$|<code>occasion</code>|``occasion``|`occasion`|--occasions")
_PATTERN = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, PHRASES)) + r")(?![\w-])", re.IGNORECASE)


def texts() -> Iterator[tuple[str, str]]:
    """Each text that somebody reads, with the place where it stands."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "templates").rglob("*.*")]:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for path in [*(ROOT / "portal").rglob("*.yml"), *(ROOT / "portal" / "sandbox" / "pages").glob("*.html")]:
        yield str(path.relative_to(ROOT)), _without_signs(path.read_text(encoding="utf-8"))
    for path in [*(ROOT / "portal").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        if "migrations" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def _without_signs(text: str) -> str:
    """A catalog file without the signs: these quote what servers say."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s*- \{", line))


@pytest.mark.parametrize("phrase", ["Mend it", "It came to nothing.", "Nobody here", "stored sealed"])
def test_dialect_is_found(phrase: str) -> None:
    assert _PATTERN.search(phrase)


def test_texts_contain_no_dialect() -> None:
    found = {
        f"{place}: …{text[max(match.start() - 30, 0) : match.end() + 30]!r}"
        for place, text in texts()
        for match in _PATTERN.finditer(ALLOWED.sub("", text))
    }
    assert not found, "\n".join(sorted(found))
