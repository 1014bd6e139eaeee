"""Project structure: import layers, vendored files, migrations and documentation match the code."""

import ast
import hashlib
import re
from pathlib import Path

import pytest
from playhouse.schema_diff import diff_models

from portal import models
from portal.core.db import database

ROOT = Path(__file__).parent.parent
#: Packages by layer, lowest first: a package may only import from layers listed before its own.
LAYERS = [
    ["translations"],
    ["core"],
    ["models", "protocols", "providers"],
    ["system", "causes"],
    ["triggers"],
    ["access", "tokens"],
    ["outgoing", "web_services"],
    ["incoming"],
    ["monitoring"],
    ["config_files"],
    ["diagnosis", "runtime"],
    ["sandbox", "web"],
    ["workers"],
    ["cli"],
]
#: Modules directly in ``portal/``.
FLAT = {"__init__", "__main__"}


def modules() -> dict[str, Path]:
    files = [*(ROOT / "portal").rglob("*.py"), *(ROOT / "workers").rglob("*.py"), ROOT / "wsgi.py"]
    found = {}
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "migrations" not in name and name != "portal":
            found[name] = path
    return found


def package(name: str) -> str:
    """Return the package of a module: ``tokens`` for ``portal.tokens.refresh``, ``workers`` for ``workers.clock``."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "portal" else first


def layer(name: str) -> int:
    return next(depth for depth, packages in enumerate(LAYERS) if package(name) in packages)


def imported(path: Path) -> set[str]:
    """Return the full names of the project's modules that a file imports."""
    known = modules()
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name for name in names if name in known}
    return found


def inner_modules() -> list[str]:
    return sorted(name for name in modules() if package(name) not in FLAT and name != "wsgi")


@pytest.mark.parametrize("name", inner_modules())
def test_imports_go_to_lower_layers_only(name: str) -> None:
    others = [other for other in imported(modules()[name]) if package(other) not in ("", package(name))]
    assert not [other for other in others if layer(other) >= layer(name)]


def test_portal_package_has_no_top_level_modules() -> None:
    assert {path.stem for path in (ROOT / "portal").glob("*.py")} == FLAT


@pytest.mark.parametrize("library", ["apprise", "rq", "authlib", "imapclient"])
def test_each_wrapped_library_is_imported_by_one_file(library: str) -> None:
    wrapping = {
        "apprise": "portal/protocols/apprise_service.py",
        "rq": "portal/system/job_queue.py",
        "authlib": "portal/protocols/oauth2.py",
        "imapclient": "portal/protocols/imap_session.py",
    }
    users = [
        str(path.relative_to(ROOT))
        for name, path in modules().items()
        if re.search(rf"^ *(from|import) {library}\b", path.read_text(encoding="utf-8"), re.M)
        and not name.startswith(("workers", "portal.sandbox"))
    ]
    assert users == [wrapping[library]]


def test_only_three_places_catch_every_exception() -> None:
    broad = re.compile(r"except:|except (Base)?Exception\b")
    users = {name for name, path in modules().items() if broad.search(path.read_text(encoding="utf-8"))}
    assert users == {"portal.core.errors", "portal.cli.operation", "portal.runtime.stop_signal"}


def test_vendored_files_match_their_checksums() -> None:
    folder = ROOT / "static" / "vendor"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        checksum, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name


def test_migrations_create_the_tables_of_the_models(db: None) -> None:
    rows = [getattr(models, name) for name in models.__all__]
    tables = [row for row in rows if isinstance(row, type) and issubclass(row, models.Row)]
    tables = [row for row in tables if row not in (models.Row, models.Leased, models.Failing)]
    assert str(diff_models(database.obj, tables)) == ""


def test_icons_used_by_templates_exist() -> None:
    sprite = (ROOT / "static" / "icons.svg").read_text()
    for path in (ROOT / "templates").rglob("*.html"):
        for name in re.findall(r"icon\('(\w+)'\)", path.read_text()):
            assert f'id="{name}"' in sprite, f"{path.name} uses the icon {name}"


def test_every_setting_is_documented() -> None:
    from portal.system.setting_definitions import KNOWN

    text = (ROOT / "docs" / "settings.md").read_text()
    assert all(f"`{name}`" in text for name in KNOWN)


def test_files_name_no_build_path_and_no_package_host() -> None:
    unwanted = re.compile(r"/work/main|pypi\.org|pythonhosted|deb\.debian\.org|registry\.npmjs")
    here = Path(__file__)
    suffixes = {".py", ".md", ".yml", ".html", ".css", ".js", ".toml", ".txt", ".json", ".mjs", ""}
    for folder in ("portal", "workers", "templates", "tests", "docs", "deploy", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in suffixes and path != here and "node_modules" not in path.parts:
                assert not unwanted.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_template_lines_have_at_most_140_characters() -> None:
    for path in [*(ROOT / "templates").rglob("*.html"), *(ROOT / "portal").rglob("*.html")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 140, f"{path.relative_to(ROOT)}:{number}"


def test_templates_have_no_side_effects() -> None:
    for path in (ROOT / "templates").rglob("*.*"):
        assert not re.search(r"\.append\(|\.update\(|namespace\(|{% do ", path.read_text(encoding="utf-8")), path
