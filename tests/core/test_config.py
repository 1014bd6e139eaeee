from pathlib import Path

import pytest

from portal.core.config import from_environment
from portal.core.errors import ConfigError


def test_the_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("DATABASE_URL_FILE", "/does/not/exist"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        from_environment({name: value})
    assert "\n" not in str(caught.value)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://portal:s3cret@db.test/portal\n")
    config = from_environment({"DATABASE_URL_FILE": str(path), "DATABASE_URL": "sqlite:///other"})
    assert config.database_url == "postgresql://portal:s3cret@db.test/portal"


@pytest.mark.parametrize(("bind", "address"), [("[::1]:8080", "[::1]:8080"), (":8080", "0.0.0.0:8080")])
def test_an_address_is_split_and_put_together(bind: str, address: str) -> None:
    assert from_environment({"PORTAL_BIND": bind}).address == address
