from pathlib import Path

import pytest

from portal.core.config import from_environment
from portal.core.errors import ConfigError


def test_empty_environment_uses_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = from_environment({})
    assert config.data_dir == tmp_path / "data"
    assert config.database_url == f"sqlite:///{tmp_path}/data/portal.db"
    assert (config.redis_url, config.address, config.log_format) == (None, "127.0.0.1:8000", "text")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORTAL_BIND", "8000"),
        ("PORTAL_BIND", "127.0.0.1:port"),
        ("PORTAL_BIND", "127.0.0.1:99999"),
        ("PORTAL_CA_FILE", "/does/not/exist"),
        ("PORTAL_CA_FILE", "/"),
        ("PORTAL_TRUSTED_PROXIES", "yes"),
        ("PORTAL_LOG_FORMAT", "xml"),
        ("PORTAL_INTERNAL_NETWORKS", "10.0.0.1/8"),
        ("PORTAL_MAILDIR_ROOTS", "/var/mail:mail"),
        ("DATABASE_URL_FILE", "/does/not/exist"),
    ],
)
def test_invalid_value_error_names_the_variable_in_one_line(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        from_environment({name: value})
    assert "\n" not in str(caught.value)


def test_settings_that_expose_the_portal_are_named() -> None:
    def exposures(**environment: str) -> list[str]:
        return [text.split()[0] for text in from_environment(environment).exposures]

    assert exposures() == []
    assert exposures(PORTAL_BIND="0.0.0.0:8000") == ["PORTAL_BIND"]
    # In a container, the port is reached by the proxy only.
    assert exposures(PORTAL_BIND="0.0.0.0:8000", PORTAL_TRUSTED_PROXIES="1") == []
    assert exposures(PORTAL_TRUSTED_PROXIES="1") == ["PORTAL_TRUSTED_PROXIES"]
    assert exposures(PORTAL_TRUSTED_PROXIES="1", PORTAL_PROXY_SOCKET="/run/proxy.sock") == []


def test_database_url_is_read_from_file_variable(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://portal:s3cret@db.test/portal\n")
    config = from_environment({"DATABASE_URL_FILE": str(path), "DATABASE_URL": "sqlite:///other"})
    assert config.database_url == "postgresql://portal:s3cret@db.test/portal"


@pytest.mark.parametrize(("bind", "address"), [("[::1]:8080", "[::1]:8080"), (":8080", "0.0.0.0:8080")])
def test_bind_address_is_parsed_and_formatted(bind: str, address: str) -> None:
    assert from_environment({"PORTAL_BIND": bind}).address == address
