"""The tables of docs/security name files and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = sorted((ROOT / "docs" / "security").glob("[ar][sf][vc]*.md"))

DOCUMENTS = ("docs/", "deploy/", "SECURITY.md", "README.md", "Makefile", "pyproject.toml")


def rows(table: Path) -> list[list[str]]:
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_tables_are_all_there() -> None:
    assert [path.stem for path in TABLES] == ["asvs5-level2", "rfc8314", "rfc8628", "rfc9207", "rfc9700"]


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_each_row_names_files_and_tests_that_exist(table: Path) -> None:
    for number, _, met, how, file, test in rows(table):
        assert met in ("yes", "partly", "no", "n/a"), number
        assert how, number
        assert file == "–" or (ROOT / file).exists(), f"{number}: {file}"
        if test != "–":
            path, _, name = test.partition("::")
            assert name in names_in(path), f"{number}: {test}"


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_a_met_requirement_has_a_test_or_is_a_matter_of_documents_and_deployment(table: Path) -> None:
    for number, _, met, _, file, test in rows(table):
        if met == "yes" and test == "–":
            assert file.startswith(("docs/", "deploy/")) or file in (
                "SECURITY.md",
                "README.md",
                "Makefile",
                "pyproject.toml",
            ), number


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_the_counts_at_the_top_are_right(table: Path) -> None:
    found = [row[2] for row in rows(table)]
    counts = f"{found.count('yes')} met, {found.count('partly')} partly, {found.count('no')} not met, {found.count('n/a')} not"
    assert counts in table.read_text(encoding="utf-8")
