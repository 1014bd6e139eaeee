"""A body template must not stop or exhaust the process that renders it."""

import os
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from portal.core.errors import Refused
from portal.triggers import body_templates


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{{ 'a'.ljust(300000000) }}", "too long"),
        ("{{ 2 ** 10000000 }}", "Exceeds the limit"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% if", "unexpected"),
        ("{{ missing }}", "undefined"),
        # Doubles a text until the memory ends.
        ("{% set n = namespace(t='a' * 1000) %}{% for _ in range(40) %}{% set n.t = n.t ~ n.t %}{% endfor %}", "Memory"),
        ("{{ 'a'|center(3000000000) }}", "Memory"),
    ],
)  # fmt: skip
def test_oversized_or_invalid_template_is_rejected(body: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        body_templates.render(body, {})
    assert body_templates.render("{{ a }}", {"a": "after"}) == "after"


def test_endless_template_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_templates, "SECONDS", 0.5)
    loops = "{% for _ in range(99999) %}" * 5 + "{% endfor %}" * 5
    with pytest.raises(Refused, match="takes longer than"):
        body_templates.render(loops, {})
    monkeypatch.undo()
    assert body_templates.render("{{ a }}", {"a": "after"}) == "after"


def test_rendering_process_knows_no_secret_of_the_portal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://portal:s3cret@db.test/portal")
    body_templates._renderer.end()
    assert body_templates.render("{{ a }}", {"a": 1}) == "1"
    process = body_templates._renderer._processes[os.getpid()]
    assert b"s3cret" not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_forked_process_has_a_rendering_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    body_templates.render("{{ a }}", {"a": 1})
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert body_templates.render("{{ a }}", {"a": 2}) == "2"
    body_templates._renderer.end()
    monkeypatch.undo()
    assert body_templates.render("{{ a }}", {"a": 3}) == "3"


def test_message_can_be_the_value_of_a_form_field() -> None:
    content = b64encode("Drücker & 100 % + =\r\n".encode()).decode()
    body = body_templates.render("email={{ content|percent_encoded }}", {"content": content})
    assert parse_qs(body) == {"email": ["Drücker & 100 % + =\r\n"]}
    with pytest.raises(Refused):
        body_templates.render("{{ content|percent_encoded }}", {"content": "no Base64"})


def test_template_value_can_have_any_name() -> None:
    assert (
        body_templates.render("{{ values.items }} {{ values.keys }}", {"values": {"items": "3", "keys": "4"}}) == "3 4"
    )


def test_process_that_ended_while_it_was_idle_is_replaced() -> None:
    body_templates.render("{{ a }}", {"a": 1})
    process = body_templates._renderer._processes[os.getpid()]
    process.kill()
    process.wait()
    assert body_templates.render("{{ a }}", {"a": 2}) == "2"
