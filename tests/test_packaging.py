"""The pinned requirements are those that were asked for, and the wheel holds all that the portal needs."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def _asked(path: Path) -> list[Requirement]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def _pinned(path: Path) -> dict[str, str]:
    """The pinned version of each package, and the text of its entry checked for hashes."""
    versions = {}
    for entry in re.split(r"\n(?=\S)", path.read_text()):
        if match := re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", entry):
            assert "--hash=sha256:" in entry, f"{match[1]} has no hash"
            versions[match[1].lower()] = match[2]
    return versions


@pytest.mark.parametrize("folder", [ROOT, ROOT / "tests"], ids=["requirements", "tests"])
def test_each_requirement_is_pinned_at_an_allowed_version_with_hashes(folder: Path) -> None:
    pinned = _pinned(folder / "requirements.txt")
    for asked in _asked(folder / "requirements.in"):
        assert asked.name.lower() in pinned, f"{asked.name} is not pinned: run make lock"
        assert asked.specifier.contains(pinned[asked.name.lower()]), f"{asked.name}: run make lock"


@pytest.mark.slow
def test_the_wheel_holds_pages_styles_and_workers_and_its_command_starts(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    installed = tmp_path / "installed"
    ZipFile(next(tmp_path.glob("*.whl"))).extractall(installed)
    assert (installed / "workers").is_dir()
    for folder in ("templates", "static"):
        expected = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {path for path in expected if not (installed / "portal" / path).is_file()} == set()
    for language in ("de", "fr"):
        assert (
            installed / "portal" / "translations" / language / "LC_MESSAGES" / "messages.mo"
        ).stat().st_size > 100_000
    shown = subprocess.run(
        [sys.executable, "-c", "import sys; from portal.cli import main; sys.argv = ['p', '--help']; main()"],
        cwd=installed, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "mail-account" in shown.stdout


@pytest.mark.slow
def test_two_builds_make_the_same_wheel(tmp_path: Path) -> None:
    """Anyone can check that a published wheel was built from this source."""
    digests = set()
    for name, second in (("a", 1), ("b", 2)):
        copy = tmp_path / name / "source"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "node_modules", ".*_cache", "__pycache__")
        )
        for path in copy.rglob("*"):
            os.utime(path, (second * 10**9, second * 10**9))
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / name], cwd=copy, check=True
        )
        digests.add(hashlib.sha256(next((tmp_path / name).glob("*.whl")).read_bytes()).hexdigest())
    assert len(digests) == 1
