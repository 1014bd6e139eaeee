"""What the folders promise: imports go down, vendored files are what they claim, migrations make the models."""

import ast
import hashlib
import re
from pathlib import Path

import pytest
from playhouse.schema_diff import diff_models

from portal import models
from portal.db import database

ROOT = Path(__file__).parent.parent
#: Highest first; a module may import from its own layer and from those below it.
LAYERS = [
    ["portal.__main__", "portal.cli", "portal.server", "wsgi"],
    ["portal.web", "portal.sandbox", "portal.submission", "workers"],
    ["portal.views"],
    ["portal.forms", "portal.access", "portal.filters"],
    ["portal.check_up", "portal.metrics"],
    ["portal.telling"],
    ["portal.notice_mail", "portal.home", "portal.diagnosis"],
    ["portal.notices"],
    ["portal.outages"],
    ["portal.health", "portal.startup", "portal.supervisor"],
    ["portal.device_sign_ins", "portal.transfer"],
    ["portal.fetching", "portal.push"],
    ["portal.deliveries"],
    ["portal.run_keeping", "portal.signing_in", "portal.mail_accounts", "portal.token_overview"],
    ["portal.token_configs", "portal.destinations", "portal.ledger", "portal.quarantine", "portal.arrivals"],
    ["portal.forwarding", "portal.sending", "portal.trying_out"],
    ["portal.send_outcomes"],
    ["portal.bounces"],
    ["portal.calling", "portal.letters", "portal.outbound_messages", "portal.submitting"],
    ["portal.mailboxes", "portal.outbound", "portal.web_services"],
    ["portal.second_chance"],
    ["portal.borrowing", "portal.renewals", "portal.retention", "portal.certificates"],
    ["portal.refreshing", "portal.giving_up", "portal.users", "portal.owner_links", "portal.refresh_history"],
    ["portal.lending"],
    ["portal.outcomes", "portal.token_facts", "portal.api_keys", "portal.hand_outs"],
    ["portal.occasions", "portal.guessing", "portal.rules_of_thumb", "portal.unknown_answers"],
    ["portal.clients", "portal.provider_hosts", "portal.strict_yaml", "portal.znuny"],
    ["portal.settings"],
    ["portal.known_settings"],
    [
        "portal.audit",
        "portal.body_templates",
        "portal.contents",
        "portal.disks",
        "portal.dispatching",
        "portal.envelopes",
        "portal.headers",
        "portal.jobs",
        "portal.large_messages",
        "portal.leading",
        "portal.openapi",
        "portal.progress",
        "portal.run_log",
        "portal.providers",
        "portal.schedule",
        "portal.standing",
        "portal.token_claims",
        "portal.trust",
    ],
    ["portal.catalogue"],
    ["portal.status"],
    ["portal.models", "portal.adapters", "portal.embedded", "portal.log"],
    ["portal.db", "portal.fields"],
    ["portal.sealing", "portal.config"],
    ["portal.errors", "portal.tone"],
]


def modules() -> dict[str, Path]:
    files = [*(ROOT / "portal").rglob("*.py"), *(ROOT / "workers").rglob("*.py"), ROOT / "wsgi.py"]
    found = {}
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "migrations" not in name and name != "portal":
            found[name] = path
    return found


def layer(name: str) -> int:
    for depth, names in enumerate(LAYERS):
        if any(name == known or name.startswith(f"{known}.") for known in names):
            return depth
    raise AssertionError(f"{name} belongs to no layer")


def imported(path: Path) -> set[str]:
    """Our own modules that a file imports, by full name."""
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


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down(name: str) -> None:
    upwards = {other for other in imported(modules()[name]) if layer(other) < layer(name)}
    assert not upwards, f"{name} imports {upwards}"


def test_views_and_workers_do_not_know_each_other() -> None:
    for name, path in modules().items():
        others = imported(path)
        if name.startswith("workers"):
            assert not {other for other in others if other.startswith(("portal.views", "portal.web"))}, name
        if name.startswith("portal.views"):
            assert not {other for other in others if other.startswith("workers")}, name


@pytest.mark.parametrize("library", ["rq", "authlib", "imapclient"])
def test_one_file_wraps_each_library(library: str) -> None:
    wrapping = {
        "rq": "portal/jobs.py",
        "authlib": "portal/adapters/oauth2.py",
        "imapclient": "portal/adapters/imap_session.py",
    }
    users = [
        str(path.relative_to(ROOT))
        for name, path in modules().items()
        if re.search(rf"^(from|import) {library}\b", path.read_text(encoding="utf-8"), re.M)
        and not name.startswith(("workers", "portal.sandbox"))
    ]
    assert users == [wrapping[library]]


def test_vendored_files_are_what_they_claim() -> None:
    folder = ROOT / "static" / "vendor"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        checksum, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name


def test_the_migrations_make_the_tables_of_the_models(db: None) -> None:
    rows = [getattr(models, name) for name in models.__all__]
    tables = [row for row in rows if isinstance(row, type) and issubclass(row, models.Row)]
    tables = [row for row in tables if row not in (models.Row, models.Leased)]
    assert str(diff_models(database.obj, tables)) == ""


def test_every_icon_that_a_page_asks_for_exists() -> None:
    sprite = (ROOT / "static" / "icons.svg").read_text()
    for path in (ROOT / "templates").rglob("*.html"):
        for name in re.findall(r"icon\('(\w+)'\)", path.read_text()):
            assert f'id="{name}"' in sprite, f"{path.name} asks for {name}"


def test_every_setting_is_documented() -> None:
    from portal.known_settings import KNOWN

    text = (ROOT / "docs" / "settings.md").read_text()
    assert all(f"`{name}`" in text for name in KNOWN)


def test_nothing_names_this_machine_or_a_package_host() -> None:
    unwanted = re.compile(r"/work/main|pypi\.org|pythonhosted|deb\.debian\.org|registry\.npmjs")
    here = Path(__file__)
    suffixes = {".py", ".md", ".yml", ".html", ".css", ".js", ".toml", ".txt", ".json", ".mjs", ""}
    for folder in ("portal", "workers", "templates", "tests", "docs", "deploy", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in suffixes and path != here and "node_modules" not in path.parts:
                assert not unwanted.search(path.read_text(encoding="utf-8", errors="replace")), path
