"""Each language has every message, and no page shows a text that is no message."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog
from babel.messages.frontend import CommandLineInterface
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask

from portal.core.language import CATALOGS, languages
from portal.web import languages as chosen
from tests.builders import ADMIN, make_one_of_each
from tests.fakes.pages import Page, PageClient
from tests.support.endpoints import rules

ROOT = Path(__file__).parent.parent
PLACEHOLDER = re.compile(r"\{\w+[^}]*\}|%\(\w+\)s|</?[a-z]+|`[^`]*`")
#: Esperanto, in which every message is its English text in brackets.
MARKED = "eo"


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Return the messages of the code, as ``make translations`` finds them."""
    found = tmp_path_factory.mktemp("catalog") / "messages.pot"
    arguments = [
        "--quiet",
        "extract",
        "--mapping",
        CATALOGS / "babel.cfg",
        "--keywords",
        "_n:1,2",
        "--output",
        found,
        ROOT,
    ]
    CommandLineInterface().run(["pybabel", *map(str, arguments)])  # type: ignore[no-untyped-call]
    with found.open("rb") as file:
        return read_po(file)


def catalog(language: str) -> Catalog:
    with (CATALOGS / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=language)


TRANSLATED = sorted(languages().keys() - {"en"})


def test_the_portal_speaks_english_german_and_french() -> None:
    assert languages() == {"de": "Deutsch", "en": "English", "fr": "Français"}


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_language_has_every_message(language: str, messages: Catalog) -> None:
    translated = catalog(language)
    missing = [one.id for one in messages if one.id and not is_complete(translated, one.id)]
    assert not missing, f"{len(missing)} messages of {language} are missing or fuzzy: run make translations"
    assert {one.id for one in translated} <= {one.id for one in messages}, "messages that the code no longer has"


def is_complete(translated: Catalog, message: Any) -> bool:
    found = translated.get(message if isinstance(message, str) else message[0])
    return found is not None and not found.fuzzy and all(forms(found.string))


def forms(strings: Any) -> list[str]:
    """Return the text, or its singular and plural forms."""
    return [strings] if isinstance(strings, str) else list(strings)


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_keep_placeholders_tags_and_commands(language: str) -> None:
    for one in catalog(language):
        source, text = " ".join(forms(one.id)), " ".join(forms(one.string))
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(source)) or not one.id, one.id


@pytest.fixture
def marked(app: Flask, messages: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for one in messages:
        if one.id:
            one.string = f"⟦{one.id}⟧" if isinstance(one.id, str) else tuple(f"⟦{form}⟧" for form in one.id)
    folder = tmp_path / MARKED / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "messages.mo").open("wb") as file:
        messages.locale = MARKED
        write_mo(file, messages)
    monkeypatch.setattr(chosen, "languages", lambda: {MARKED: "Esperanto"})
    directories = app.extensions["babel"].translation_directories
    directories.append(str(tmp_path))
    yield
    directories.remove(str(tmp_path))


def test_no_page_shows_a_text_that_is_no_message(
    app: Flask, people: None, visit: Callable[[str], PageClient], marked: None, tmp_path: Path
) -> None:
    make_one_of_each(tmp_path)
    client = visit(ADMIN)
    found, seen = set(), 0
    for endpoint, path in rules(app, "GET"):
        response = client.client.get(path, headers={"Accept-Language": MARKED})
        if response.mimetype == "text/html" and response.status_code == 200:
            seen += 1
            found |= {f"{endpoint}: {text}" for text in unmarked(Page(response.text))}
    assert not found, "\n".join(sorted(found))
    assert seen > 40, "pages were not shown"


#: What was recorded, in English: the audit trail, and a notice of an older version.
RECORDED = re.compile(r"(The refresh token for “Office”|Press Request new token|Help desk$|from the template|role |severity |"
                      r"IMAPS helpdesk|unknown, used or)")  # fmt: skip


def unmarked(page: Page) -> list[str]:
    """Return the texts of several words, and the states, outside of brackets; names, hosts and code are no messages."""
    states = re.findall(r'<span class="state[^"]*">.*?<span>(.*?)</span>', page.html, flags=re.S)
    html = re.sub(r"<(script|style|code|pre|textarea)\b.*?</\1>", "", page.html, flags=re.S)
    html = re.sub(r"</?(a|strong|em|b|span|time)\b[^>]*>", "", html)
    attributes = re.findall(r'(?:title|aria-label|placeholder|alt|data-label)="([^"]*)"', html)
    texts = [*attributes, *re.split(r"<[^>]*>", html)]
    words = {left for text in states if re.search(r"[a-z]{2}", left := outside(re.sub(r"<[^>]*>", "", text)))}
    sentences = {left for text in texts if re.search(r"[a-z]{2,} [a-z]{2,}", left := outside(text))}
    return [left for left in words | sentences if not RECORDED.match(left)]


def outside(text: str) -> str:
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = shorter
    return " ".join(text.split())
