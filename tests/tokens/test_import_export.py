from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from portal.core import passphrase
from portal.core.encryption import Secret
from portal.core.errors import Invalid, NotFound
from portal.core.strict_yaml import InvalidYaml
from portal.models import Event, TokenConfig
from portal.tokens import import_export
from portal.tokens.import_export import Verdict
from tests.builders import CLIENT_SECRET, NOW, REFRESH_TOKEN, fresh, make_config, make_token
from tests.support.exporting import exported
from tests.support.znuny import plan

pytestmark = pytest.mark.usefixtures("db")
PASSPHRASE = Secret("open sesame 4711")


def verdicts(content: Any, **options: Any) -> list[tuple[str, str]]:
    return [(step.name, step.verdict.value) for step in plan(content, **options)]


def test_an_export_holds_no_secret_and_no_token() -> None:
    make_token(make_config("Mail"))
    text = exported()
    assert CLIENT_SECRET not in text
    assert REFRESH_TOKEN not in text
    assert "client_secret:" not in text


def test_secrets_are_exported_plain_or_encrypted_on_request() -> None:
    make_config("Mail")
    assert CLIENT_SECRET in exported(secrets=True)
    sealed = exported(passphrase=PASSPHRASE)
    assert CLIENT_SECRET not in sealed
    TokenConfig.delete().execute()
    assert plan(sealed.encode())[0].why == "client_secret: The secret is encrypted. Enter the passphrase."
    assert "does not decrypt the secret" in plan(sealed.encode(), passphrase=Secret("wrong"))[0].why
    import_export.apply(plan(sealed.encode(), passphrase=PASSPHRASE), actor="Alice", now=NOW)
    assert TokenConfig.get().client_secret.value == Secret(CLIENT_SECRET)


@pytest.mark.slow
def test_thousand_configurations_survive_export_and_import() -> None:
    for number in range(1000):
        make_config(f"Configuration {number:04}", notify_expired_token=number % 2 == 0)
    text = exported(secrets=True)
    TokenConfig.delete().execute()
    assert import_export.apply(plan(text.encode()), actor="Alice", now=NOW) == 1000
    assert exported(secrets=True) == text


def test_import_plan_classifies_each_record() -> None:
    make_config("Same")
    make_config("Other")
    items = yaml.safe_load(exported())
    other, same = items
    changed = {**other, "scope": "mail", "notify_expired_token": "yes"}
    items = [
        same,
        changed,
        {**same, "name": "New"},
        {**same, "name": "Bad", "token_url": "http://p.test"},
        5,
        {"x": "1"},
    ]
    assert verdicts(items) == [
        ("Same", "same"), ("Other", "kept"), ("New", "new"), ("Bad", "refused"), ("record 5", "refused"), ("record 6", "refused"),
    ]  # fmt: skip
    steps = plan(items, overwrite=True)
    assert steps[1].verdict is Verdict.CHANGED
    assert sorted(change.field for change in steps[1].changes) == ["notify_expired_token", "scope"]
    assert "Use https" in steps[3].why
    with pytest.raises(Invalid, match=r"Nothing was imported\. .* Bad, record 5, record 6"):
        import_export.apply(steps, actor="Alice", now=NOW)
    assert TokenConfig.select().count() == 2
    assert import_export.apply(steps[:3], actor="Alice", now=NOW) == 2
    assert TokenConfig.named("Other").scope == "mail"
    assert Event.get(Event.action == "token-configuration:imported").details == "2 of 3"


def test_import_overwrite_keeps_tokens_and_secret() -> None:
    token = make_token(make_config("Mail"))
    (item,) = yaml.safe_load(exported())
    import_export.apply(plan({**item, "scope": "other"}, overwrite=True), actor="Alice", now=NOW)
    assert fresh(token).refresh_token == Secret(REFRESH_TOKEN)
    assert TokenConfig.get().client_secret.value == Secret(CLIENT_SECRET)


def test_failed_import_applies_nothing() -> None:
    make_config("Mail")
    (item,) = yaml.safe_load(exported())
    steps = plan([{**item, "name": "One"}, {**item, "name": "Two"}])
    make_config("Two")
    with pytest.raises(Exception, match="exists"):
        import_export.apply(steps, actor="Alice", now=NOW)
    assert TokenConfig.get_or_none(TokenConfig.name == "One") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- &a {name: x}\n- *a\n", "Line 1: aliases"),
        ("a: !!python/object/apply:os.system [id]\n", "Line 1: the tag"),
        ("name: x\nname: y\n", "Line 2: the key 'name' occurs twice."),
        ("- {a: {b: 1, b: 2}}\n", "Line 1: the key 'b' occurs twice."),
        ("[" * 30, "Line 1: nesting is deeper than 20"),
        ("? [a]\n: b\n", "a key must be a text"),
        ("a: [\n", "Line 2"),
        ("\t", "Line 1"),
        ("", "no token configuration"),
        ("[]", "no token configuration"),
        ("5", "no token configuration"),
        ("x" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_unsafe_yaml_is_rejected_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidYaml) as caught:
        plan(text.encode())
    assert why in str(caught.value)


def test_binary_import_file_is_rejected() -> None:
    with pytest.raises(InvalidYaml, match="UTF-8"):
        plan(b"\xff\xfe")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"template": "unknown"}, "There is no template"),
        ({"colour": "red"}, "colour: Unknown field."),
        ({"client_id": "a\nb"}, "line break"),
        ({"client_id": ["a"]}, "The value must be text"),
        ({"validity": "perhaps"}, "perhaps"),
        ({"client_secret_ends_on": "soon"}, "soon"),
    ],
)
def test_invalid_record_is_rejected_with_a_reason(changes: dict[str, Any], why: str) -> None:
    make_config("Mail")
    (item,) = yaml.safe_load(exported())
    (step,) = plan({**item, "name": "New", **changes})
    assert step.verdict is Verdict.REFUSED
    assert why in step.why


def test_yaml_values_are_read_as_text() -> None:
    raw = b"name: 2026-01-01\ntemplate: generic\nclient_id: 012\nauthorize_url: https://p.test\ntoken_url: https://p.test\nrefresh_url: https://p.test\nscope: no\n"
    import_export.apply(plan(raw), actor="Alice", now=NOW)
    row = TokenConfig.get()
    assert (row.name, row.client_id, row.scope) == ("2026-01-01", "012", "no")


def test_one_configuration_is_exported_by_name() -> None:
    make_config("One")
    make_config("Two")
    assert [item["name"] for item in yaml.safe_load(exported(["Two"]))] == ["Two"]
    with pytest.raises(NotFound):
        exported(["Three"])


def test_client_secret_expiry_survives_export_and_import() -> None:
    config = make_config("Mail")
    secret = config.client_secret
    secret.ends_at = datetime(2027, 5, 1, tzinfo=UTC)
    secret.save()
    text = exported(secrets=True)
    TokenConfig.delete().execute()
    import_export.apply(plan(text.encode()), actor="Alice", now=NOW)
    assert TokenConfig.get().client_secret.ends_at == datetime(2027, 5, 1, tzinfo=UTC)


def test_export_of_secrets_is_in_the_audit_log() -> None:
    make_config("Help desk")
    exported(secrets=True)
    exported()
    first, second = Event.select().where(Event.action == "token-configuration:exported").order_by(Event.id)
    assert first.details == "with secrets in plain text: Help desk"
    assert second.details == "with no secrets: Help desk"


def test_export_with_the_older_cost_of_scrypt_is_still_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    make_config("Sales")
    monkeypatch.setattr(passphrase.Passphrase._cipher, "__defaults__", (passphrase._OLD_COST,))
    old = exported(passphrase=PASSPHRASE)
    monkeypatch.undo()
    assert plan(old.encode(), overwrite=True, passphrase=PASSPHRASE)[0].why == ""
