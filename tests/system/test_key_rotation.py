"""Rotation of the encryption key: no secret becomes unreadable, and none is overwritten."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.core import keys
from portal.core.config import Config
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.keys import KeyFile
from portal.models import Event, Setting, Token
from portal.system import key_check, key_rotation
from tests.builders import ACCESS_TOKEN, ADMIN, NOW, REFRESH_TOKEN, fresh, make_token
from tests.fakes.pages import PageClient
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def file(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyFile]:
    """A key file of this test; the database of the other tests belongs to theirs."""
    shutil.copy(config.keys_file, tmp_path / "own-keys")
    monkeypatch.setenv("PORTAL_KEYS_FILE", str(tmp_path / "own-keys"))
    own = KeyFile(tmp_path / "own-keys")
    keys.use(own)
    yield own
    keys.use(KeyFile.of(config))
    key_check.store(NOW)


def test_every_column_with_secrets_is_known() -> None:
    names = {f"{model._meta.table_name}.{field.column_name}" for model, field in key_rotation.sealed_columns()}
    assert {"token.refresh_token", "client_secret.value", "user.totp_secret", "mail_account.password"} <= names
    assert len(names) == 16


def test_rotation_encrypts_every_secret_with_the_new_key(file: KeyFile) -> None:
    token, old = make_token(), keys.current().newest
    before = key_rotation.usage()
    assert set(before) == {old}
    new = key_rotation.add_key(file, actor=ADMIN, now=NOW)
    assert key_rotation.encrypt_again(actor=ADMIN, now=NOW) == before[old] - 1  # and the value for the start
    assert key_rotation.usage() == {new: before[old]}
    assert key_rotation.unreadable() == []
    assert fresh(token).refresh_token == Secret(REFRESH_TOKEN)
    assert key_rotation.encrypt_again(actor=ADMIN, now=NOW) == 0
    key_rotation.retire(file, old, actor=ADMIN, now=NOW)
    key_check.verify()
    assert fresh(token).access_token == Secret(ACCESS_TOKEN)
    actions = [event.action for event in Event.select().where(Event.subject_kind == "key").order_by(Event.id)]
    assert actions == ["key:added", "key:rotated", "key:rotated", "key:retired"]


def test_secret_that_was_stored_meanwhile_is_not_overwritten(file: KeyFile) -> None:
    token = make_token()
    stale = fresh(token).__data__["access_token"]
    key_rotation.add_key(file, actor=ADMIN, now=NOW)
    token.access_token = Secret("a newer token")
    token.save()
    assert key_rotation._encrypt(Token, Token.access_token, token.id, stale) == 0
    assert fresh(token).access_token == Secret("a newer token")


def test_key_in_use_is_not_retired(file: KeyFile) -> None:
    make_token()
    old = keys.current().newest
    with pytest.raises(Invalid, match="is the newest key"):
        key_rotation.retire(file, old, actor=ADMIN, now=NOW)
    key_rotation.add_key(file, actor=ADMIN, now=NOW)
    with pytest.raises(Invalid, match="still encrypts"):
        key_rotation.retire(file, old, actor=ADMIN, now=NOW)
    with pytest.raises(Invalid, match="has no key"):
        key_rotation.retire(file, "kffffff", actor=ADMIN, now=NOW)


def test_commands_rotate_check_and_name_an_unreadable_secret(file: KeyFile, run: Run) -> None:
    token = make_token()
    old = keys.current().newest
    assert f"{old}\t" in run("keys", "list").stdout
    out = run("keys", "rotate").stdout
    assert f"keys retire {old}" in out
    assert "can be opened" in run("keys", "check").stdout
    # Moved from another row.
    Token.update(access_token=fresh(make_token()).__data__["access_token"]).where(Token.id == token.id).execute()
    out = run("keys", "check", code=2).stdout
    assert f"token.access_token of row {token.id} cannot be decrypted" in out
    assert Setting.select().where(Setting.name == "KeyCanary").count() == 1


def test_interrupted_rotation_is_continued_without_another_key(file: KeyFile, run: Run) -> None:
    make_token()
    key_rotation.add_key(file, actor=ADMIN, now=NOW)
    run("keys", "rotate")
    assert len(keys.current().ids) == 2


def test_cookies_are_signed_with_the_newest_key_at_once(file: KeyFile, alice: PageClient) -> None:
    keys.use(file)
    before = alice.client.application.secret_key
    old = keys.current().newest
    file.add()
    assert alice.client.get("/tokens").status_code == 200
    assert alice.client.application.secret_key not in (None, before)
    key_rotation.encrypt_again(actor=ADMIN, now=NOW)
    key_rotation.retire(file, old, actor=ADMIN, now=NOW)
    alice.client.get("/tokens")
    assert alice.client.application.config["SECRET_KEY_FALLBACKS"] == []
