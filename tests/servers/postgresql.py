"""A temporary PostgreSQL cluster on a free port."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import free_port, new_folder


def programs() -> Path | None:
    """Return the folder of Debian's initdb and postgres; None: not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@dataclass
class Cluster:
    folder: Path
    port: int
    as_user: list[str]

    @classmethod
    def start(cls) -> "Cluster":
        folder = new_folder()
        bin_folder = programs()
        if bin_folder is None:
            raise RuntimeError("PostgreSQL is not installed (Debian: postgresql)")
        port = free_port()
        as_user = _not_root(folder)
        data = folder / "data"
        run = [
            *as_user,
            str(bin_folder / "initdb"),
            "-D",
            str(data),
            "-U",
            "portal",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(run, check=True, capture_output=True, cwd="/")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
        control = [*as_user, str(bin_folder / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
        subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
        return cls(folder, port, as_user)

    @property
    def url(self) -> str:
        return f"postgresql://portal@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None
        control = [
            *self.as_user,
            str(bin_folder / "pg_ctl"),
            "-D",
            str(self.folder / "data"),
            "-m",
            "immediate",
            "stop",
        ]
        subprocess.run(control, check=False, capture_output=True, cwd="/")
        shutil.rmtree(self.folder)


def _not_root(folder: Path) -> list[str]:
    """Return options to run as Debian's postgres user under root: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["runuser", "-u", "postgres", "--"]
