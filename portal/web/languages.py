"""The language of a page: the user's choice, else the browser's, else that of the portal."""

from flask import Flask, request
from flask_babel import Babel, get_locale
from flask_login import current_user
from markupsafe import Markup
from peewee import DatabaseError

from portal.core.language import CATALOGS, ENGLISH, Text, _, languages, local
from portal.system import settings

#: Values of the database and states that pages show as words.
_WORDS = (
    # Roles and validity.
    _("admin"), _("operator"), _("auditor"), _("viewer"), _("valid"), _("invalid"), _("invalid-temporarily"),
    # Severities and states of lists.
    _("critical"), _("warning"), _("ok"), _("info"), _("idle"), _("resolved"), _("acknowledged"), _("announced"),
    _("failed"), _("failing"), _("retrying"), _("waiting"), _("paused"), _("fetched"), _("running"),
    _("never signed in"),
    _("new"), _("off"), _("working"), _("expired"), _("in use"), _("never used"), _("active"), _("disabled"),
    # States of runs, messages and calls.
    _("done"), _("sent"), _("stopped"), _("sending"), _("queued"), _("dropped"), _("delivered"), _("removed"),
    _("quarantined"), _("skipped"), _("left on server"),
    # Kinds of rows.
    _("mail account"), _("destination"), _("outbound profile"), _("web service"), _("token configuration"), _("token"),
    _("API key"), _("user"), _("notice"), _("notice channel"), _("identity provider"), _("setting"),
    # Authentication of web services.
    _("none"), _("basic"), _("placeholder"),
    # What is sent without TLS.
    _("mail"), _("calls"),
    # Why a token does not work.
    _("refused"), _("never requested"), _("configuration invalid"), _("credentials rejected"),
    _("configuration rejected"),
    # Faulty components.
    _("configuration"), _("account"), _("network"),
    # Sources of responses, and types of destinations.
    _("provider"), _("sign-in"), _("portal"), _("command"),
    # Verdicts of an import.
    _("changed"), _("same"),
    # What was wrong too often, and what cannot be done with an account.
    _("passwords"), _("API keys"), _("codes"), _("resumed"),
    # Triggers of web services, and a call without one.
    _("by hand"),
    _("mail delivered"), _("token refreshed"), _("token refused"), _("notice opened"), _("notice closed"),
)  # fmt: skip


def init_app(app: Flask) -> None:
    Babel(app, default_translation_directories=str(CATALOGS), locale_selector=_chosen)
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.add_template_filter(shown, "local")
    app.add_template_filter(words)
    app.add_template_filter(capitalized)
    app.add_template_filter(uncapitalized)
    app.add_template_global(code, "language")


def _chosen() -> str:
    if request.blueprint == "api":
        return ENGLISH
    user = getattr(current_user, "user", None)
    if user and user.language in languages():
        return str(user.language)
    # A browser that asks for fr-CA gets French, before another language that it asks for as well.
    tags = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality)
    try:
        return next((tag for tag in tags if tag in languages()), None) or settings.default_language()
    except DatabaseError:
        return ENGLISH  # the page says that the database fails


def code() -> str:
    """Return the code of the page's language, for the attribute ``lang``."""
    return str(get_locale() or ENGLISH)


def shown(value: str) -> str:
    """Return a text, or a word of the database such as ``queued``, in the language of the page."""
    return value if isinstance(value, Markup) else str(local(value if isinstance(value, Text) else Text(value)))


def capitalized(text: str) -> str:
    """Return the text with a first capital letter; the rest stays as it is, unlike with the filter ``capitalize``."""
    return f"{text[:1].upper()}{text[1:]}"


def uncapitalized(label: str) -> str:
    """Return the label of a button for use within a sentence; German nouns after the first word stay as they are."""
    text = shown(label)
    return f"{text[:1].lower()}{text[1:]}"


def words(listed: str) -> str:
    """Return a list of such words, separated by commas."""
    return ", ".join(shown(word.strip()) for word in listed.split(",") if word.strip())
