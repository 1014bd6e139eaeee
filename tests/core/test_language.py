"""Texts are English for programs and rows, and in the reader's language on pages and in mails."""

import copy
import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime

from markupsafe import escape

from portal import causes
from portal.core.errors import Invalid, Refused
from portal.core.language import Text, _, _n, joined, local, packed, spoken, unpacked


def test_text_is_english_until_it_is_spoken_in_another_language() -> None:
    text = _("This field is required.")
    assert text == "This field is required."
    assert str(escape(text)) == "This field is required."
    with spoken("de"):
        assert local(text) == "Dieses Feld ist erforderlich."
        assert str(escape(text)) == "Dieses Feld ist erforderlich."
        assert json.dumps(text) == '"This field is required."'


def test_values_of_a_text_are_translated_and_escaped() -> None:
    text = _("{text} Ask a portal administrator.", text=_("The provider sent no usable subject (sub)."))
    named = _("{name} was added.", name="<b>Ada</b>")
    with spoken("fr"):
        assert "Le fournisseur" in local(text)
        assert "&lt;b&gt;Ada&lt;/b&gt;" in escape(named)


def test_number_decides_singular_and_plural_by_the_rules_of_the_language() -> None:
    forms = [_n("{count} other session ended.", "{count} other sessions ended.", count) for count in (0, 1, 2)]
    assert forms == ["0 other sessions ended.", "1 other session ended.", "2 other sessions ended."]
    with spoken("fr"):
        none, one, two = map(local, forms)
        assert none.replace("0", "1") == one != two.replace("2", "1")


def test_error_keeps_its_text_so_that_a_page_can_translate_it() -> None:
    message = _("This field is required.")
    assert isinstance(str(Refused(message)), Text)
    with spoken("de"):
        assert local(_("Sign-in failed. {error}", error=Refused(message))).endswith("Dieses Feld ist erforderlich.")
        assert local(str(Refused(message))) == "Dieses Feld ist erforderlich."
        assert local(str(Invalid({"name": message}))) == "name: Dieses Feld ist erforderlich."


def test_stored_text_is_translated_when_it_is_read_again() -> None:
    at = datetime(2026, 11, 30, tzinfo=UTC)
    text = _("The client secret of “{name}” expires on {at:%Y-%m-%d}.", name=_("Status"), at=at)
    for stored in (json.loads(json.dumps(packed(text))), packed(_n("{count} warning", "{count} warnings", 3))):
        assert packed(unpacked(stored)) == stored
    again = unpacked(json.loads(json.dumps(packed(text))))
    assert again == text == "The client secret of “Status” expires on 2026-11-30."
    with spoken("de"):
        assert "2026-11-30" in local(again) != again


def test_empty_text_is_not_the_head_of_the_catalog() -> None:
    with spoken("de"):
        assert [local(_("")), local(joined([])), local(str(Invalid({})))] == ["", "", ""]


def test_explanation_in_plain_text_has_no_backticks_in_any_language() -> None:
    cause, facts = causes.named("mailbox-not-connected"), {"mailbox": "help@x.test"}
    assert "`Set-CASMailbox -Identity help@x.test" in cause.steps(facts)[0]
    with spoken("de"):
        for text in (cause.summary(facts), local(cause.summary(facts))):
            assert "Set-CASMailbox -Identity help@x.test" in text
            assert "`" not in text


def test_copies_of_a_text_can_be_translated() -> None:
    text = joined([_("This field is required."), "x"])
    for same in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        with spoken("de"):
            assert local(same) == "Dieses Feld ist erforderlich. x"


def test_workers_and_commands_do_not_load_what_only_pages_need() -> None:
    """There are ten of them: each would need 20 MB more and start later."""
    loaded = "import sys, workers.tokens, workers.clock, portal.cli; print(*{'flask', 'babel'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""
