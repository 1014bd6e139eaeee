import pytest

from portal.core.errors import Invalid, NotFound
from portal.models import Event
from portal.system import redirect_uri, settings
from tests.builders import NOW

pytestmark = pytest.mark.usefixtures("db")


def change(**values: str) -> None:
    settings.change(values, actor="Alice", now=NOW)


@pytest.mark.parametrize(
    ("alias", "script", "path"),
    [
        ("", "", "get-oauth2-token-by-authorization-code"),
        ("znuny/", "", "znuny/get-oauth2-token-by-authorization-code"),
        ("/znuny", "get-oauth2-token-by-authorization-code.pl", "znuny/get-oauth2-token-by-authorization-code.pl"),
        ("a/b/", "", "a/b/get-oauth2-token-by-authorization-code"),
    ],
)
def test_redirect_uri_is_built_only_from_settings(alias: str, script: str, path: str) -> None:
    change(HttpType="https", FQDN="help.example.test:8443", ScriptAlias=alias)
    if script:
        change(RedirectScript=script)
    assert redirect_uri.uri() == f"https://help.example.test:8443/{path}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HttpType", "ftp"),
        ("HttpType", "https://"),
        ("FQDN", "https://x.test"),
        ("FQDN", "x.test/path"),
        ("FQDN", "x test"),
        ("FQDN", ""),
        ("ScriptAlias", "a?b"),
        ("ScriptAlias", "a\nb"),
        ("RedirectScript", "a/b"),
        ("RedirectScript", "login"),
        ("RedirectScript", "mail-accounts"),
        ("RedirectScript", ".pl"),
        ("RedirectScript", "........"),
        ("ScriptAlias", "../.."),
        ("ScriptAlias", "static/x"),
        ("FQDN", "a.test:99999"),
        ("FQDN", "a.test:0"),
        ("FetchInterval", "0"),
        ("FetchInterval", "soon"),
        ("RefreshMargin", "-5"),
        ("RefreshMargin", "٣٠"),
    ],
)
def test_invalid_setting_is_rejected_and_not_stored(name: str, value: str) -> None:
    before = settings.get(name)
    with pytest.raises(Invalid) as caught:
        change(**{name: value})
    assert name in caught.value.fields
    assert settings.get(name) == before


def test_one_invalid_setting_leaves_all_unchanged() -> None:
    with pytest.raises(Invalid):
        change(FQDN="good.example.test", HttpType="gopher")
    assert settings.get("FQDN") == "127.0.0.1:8000"


def test_audit_trail_records_only_actual_setting_changes() -> None:
    change(FQDN="help.example.test")
    change(FQDN="help.example.test")
    assert [event.details for event in Event.select()] == ["FQDN is now help.example.test"]


def test_unknown_setting_error_lists_the_known_names() -> None:
    with pytest.raises(NotFound, match="HttpType, FQDN, ScriptAlias"):
        settings.get("Httptype")


def test_first_start_sets_the_fqdn_and_later_starts_keep_it() -> None:
    settings.remember_address("127.0.0.1:9000", now=NOW)
    assert settings.get("FQDN") == "127.0.0.1:9000"
    settings.remember_address("127.0.0.1:9001", now=NOW)
    assert settings.get("FQDN") == "127.0.0.1:9000"


@pytest.mark.parametrize(
    ("http_type", "fqdn", "browser", "warnings"),
    [
        ("http", "127.0.0.1:8000", "http://127.0.0.1:8000", 0),
        ("https", "help.example.test", "https://help.example.test", 0),
        ("http", "help.example.test", "http://help.example.test", 1),
        ("https", "help.example.test", "http://10.1.1.1:8000", 1),
        ("http", "help.example.test", "http://10.1.1.1:8000", 2),
        ("https", "help.example.test", None, 0),
    ],
)
def test_unusable_redirect_uri_gives_warnings(http_type: str, fqdn: str, browser: str | None, warnings: int) -> None:
    change(HttpType=http_type, FQDN=fqdn)
    assert len(redirect_uri.warnings(browser)) == warnings
