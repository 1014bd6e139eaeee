import json
import pickle

import pytest

from portal.core.encryption import DecryptionError, KeyRing, Place, Sealed, Secret
from portal.models import Token
from tests.builders import ACCESS_TOKEN, fresh, make_token

HERE = Place("token", 7, "access_token")


def ring(**keys: int) -> KeyRing:
    return KeyRing({name: bytes([value]) * 32 for name, value in (keys or {"k1": 1}).items()})


def test_secret_value_is_hidden_in_formatted_text() -> None:
    secret = Secret(ACCESS_TOKEN)
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {secret:>40}" + "%s" % secret  # noqa: UP031
    assert ACCESS_TOKEN not in shown


def test_secret_cannot_be_serialized() -> None:
    with pytest.raises(TypeError):
        json.dumps({"token": Secret(ACCESS_TOKEN)})
    with pytest.raises(TypeError):
        pickle.dumps(Secret(ACCESS_TOKEN))


def test_encrypted_value_decrypts_in_its_own_column() -> None:
    sealed = ring().seal(Secret("Ünïcode ☂"), HERE)
    assert ring().open(sealed, HERE).reveal() == "Ünïcode ☂"


@pytest.mark.parametrize(
    "elsewhere",
    [Place("token", 8, "access_token"), Place("token", 7, "refresh_token"), Place("mail_account", 7, "access_token")],
)
def test_encrypted_value_moved_elsewhere_does_not_decrypt(elsewhere: Place) -> None:
    sealed = ring().seal(Secret(ACCESS_TOKEN), HERE)
    with pytest.raises(DecryptionError):
        ring().open(sealed, elsewhere)


def test_newest_key_encrypts_and_older_keys_still_decrypt() -> None:
    old = ring(k1=1).seal(Secret("old"), HERE)
    both = ring(k1=1, k2=2)
    assert both.open(old, HERE).reveal() == "old"
    assert both.seal(Secret("new"), HERE).startswith("k2.")


def test_missing_key_is_named_in_decryption_error() -> None:
    sealed = ring(k9=9).seal(Secret("x"), HERE)
    with pytest.raises(DecryptionError, match="k9"):
        ring().open(sealed, HERE)


@pytest.mark.parametrize("rubbish", ["", "k1.", "k1.%%%", "k1.QUJD"])
def test_malformed_encrypted_value_is_a_decryption_error(rubbish: str) -> None:
    with pytest.raises(DecryptionError):
        ring().open(Sealed(rubbish), HERE)


def test_secret_column_stores_only_the_encrypted_value(db: None) -> None:
    token = fresh(make_token())
    assert token.access_token == Secret(ACCESS_TOKEN)
    assert isinstance(token.__data__["access_token"], Sealed)
    (stored,) = Token.select(Token.access_token).where(Token.id == token.id).tuples().first()
    assert ACCESS_TOKEN not in stored


def test_encrypted_column_rejects_a_plain_string(db: None) -> None:
    token = make_token()
    with pytest.raises(TypeError, match="as Secret"):
        token.access_token = "plain"  # type: ignore[assignment]
    with pytest.raises(TypeError, match="encrypted value"):
        Token.update(access_token="plain").execute()


def test_encrypted_token_copied_to_another_row_fails(db: None) -> None:
    first, second = make_token(), make_token()
    Token.update(access_token=first.__data__["access_token"]).where(Token.id == second.id).execute()
    with pytest.raises(DecryptionError):
        _ = fresh(second).access_token
