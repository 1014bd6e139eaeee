"""The languages of pages and mails: English, and each language with a catalog in ``portal/translations``.

The code, the database, the log, the command line and the API use English. A ``Text`` is an English sentence that HTML
shows in the reader's language.

Every process imports this module, and most translate nothing: Flask and Babel, 20 MB, are imported when a text is.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from flask import Flask
    from jinja2 import Environment

CATALOGS = Path(__file__).parent.parent / "translations"
ENGLISH = "en"


class Text(str):
    """An English text, equal to its English form everywhere; in HTML, the text in the reader's language.

    ``template`` is the message ID of the catalogs; its placeholders such as ``{name}`` are replaced with ``values``,
    which may be texts themselves. Operations on the text, such as ``+`` and ``lower()``, give plain English.
    """

    __slots__ = ("plural", "template", "values")
    template: str
    #: The plural form and the number that decides; None: the text has one form.
    plural: tuple[str, int] | None
    values: Mapping[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Self:
        # The sentence of an error is a text, too; the error itself would keep its traceback.
        values = {name: str(value) if isinstance(value, Exception) else value for name, value in values.items()}
        text = super().__new__(cls, cls.filled(template, values))
        text.template, text.plural, text.values = template, None, values
        return text

    @classmethod
    def counted(cls, singular: str, plural: str, count: int, /, **values: Any) -> Self:
        """Return the singular or the plural with the placeholder ``{count}``, by the rules of the language."""
        values = {**values, "count": count}
        text = cls(singular if count == 1 else plural, **values)
        text.template, text.plural = singular, (plural, count)
        return text

    @classmethod
    def filled(cls, template: str, values: Mapping[str, Any]) -> str:
        return template.format(**values) if values else template

    def translated(self) -> str:
        """Return the text in the language of the current request or mail."""
        return self.filled(self.translated_template(), {name: local(value) for name, value in self.values.items()})

    def translated_template(self) -> str:
        if not self.template:
            return ""  # the empty message is the head of the catalog
        from flask_babel import get_translations

        catalog = get_translations()
        found: str = catalog.ungettext(self.template, *self.plural) if self.plural else catalog.ugettext(self.template)
        return found

    def __html__(self) -> Markup:
        return escape(self.translated())

    def __str__(self) -> str:
        # An exception returns its message as it is; so does str() of the exception.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _text, (type(self), self.template, self.plural, dict(self.values))


def _text(kind: type[Text], template: str, plural: tuple[str, int] | None, values: dict[str, Any]) -> Text:
    return kind.counted(template, plural[0], plural[1], **values) if plural else kind(template, **values)


def local(value: Any) -> Any:
    """Return a text in the reader's language, and any other value unchanged."""
    return value.translated() if isinstance(value, Text) else value


def _(template: str, /, **values: Any) -> str:
    """Mark a message of the catalogs and return its text."""
    return Text(template, **values)


def _n(singular: str, plural: str, count: int, /, **values: Any) -> str:
    """Mark a message that depends on ``{count}`` and return its text."""
    return Text.counted(singular, plural, count, **values)


def joined(texts: Sequence[str], separator: str = " ") -> str:
    """Return one text of several; each is translated by its own message."""
    places = {f"text{number}": text for number, text in enumerate(texts)}
    return Text(separator.join(f"{{{place}}}" for place in places), **places)


@cache
def languages() -> dict[str, str]:
    """Return English and the languages with a compiled catalog, each with its own name: ``{"de": "Deutsch", …}``."""
    from babel import Locale

    codes = [ENGLISH, *(path.parent.parent.name for path in CATALOGS.glob("*/LC_MESSAGES/*.mo"))]
    return {code: str(Locale.parse(code).get_display_name()).capitalize() for code in sorted(codes)}


def install(environment: "Environment") -> None:
    """Let the templates of this environment use ``_``, ``ngettext`` and ``{% trans %}``."""
    from flask_babel import get_translations

    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: get_translations().ugettext(message),
        lambda one, many, count: get_translations().ungettext(one, many, count),
        newstyle=True,
    )


@contextmanager
def spoken(code: str) -> Iterator[None]:
    """Translate texts within the block to this language, outside of requests: for mails."""
    from flask_babel import force_locale

    with _outside_of_requests().app_context(), force_locale(code):
        yield


@cache
def _outside_of_requests() -> "Flask":
    from flask import Flask
    from flask_babel import Babel

    app = Flask("portal")
    Babel(app, default_translation_directories=str(CATALOGS))
    return app


def packed(value: Any) -> Any:
    """Return a text, or a value of one, as JSON types, so that it can be stored and translated later."""
    if isinstance(value, Text):
        values = {name: packed(one) for name, one in value.values.items()}
        return {"kind": type(value).__name__, "message": value.template, "plural": value.plural, "values": values}
    if isinstance(value, datetime):
        return {"at": value.isoformat()}
    return value if isinstance(value, int | float) else str(value)


def unpacked(stored: Any) -> Any:
    """Return what ``packed`` was given."""
    if not isinstance(stored, dict):
        return stored
    if "at" in stored:
        return datetime.fromisoformat(stored["at"])
    values = {name: unpacked(one) for name, one in stored["values"].items()}
    kinds: list[type[Text]] = [Text, *Text.__subclasses__()]
    kind = next((one for one in kinds if one.__name__ == stored["kind"]), Text)
    return _text(kind, stored["message"], stored["plural"], values)
