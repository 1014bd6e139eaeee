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
    def start(cls, *, for_standby: bool = False) -> "Cluster":
        """``for_standby``: a commit waits until the standby has it."""
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
        made = cls(folder, port, as_user)
        made._run("-c synchronous_standby_names=*" if for_standby else "")
        return made

    def _run(self, more: str = "") -> None:
        settings = "-c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300"
        self._control("-w", "-o", f"-p {self.port} -k {self.folder} {settings} {more}", "start")

    def _control(self, *arguments: str, check: bool = True) -> None:
        bin_folder = programs()
        assert bin_folder is not None
        control = [str(bin_folder / "pg_ctl"), "-D", str(self.folder / "data"), "-l", str(self.folder / "log")]
        subprocess.run([*self.as_user, *control, *arguments], check=check, capture_output=True, cwd="/")

    def standby(self) -> "Cluster":
        """Start a second server that follows this one."""
        folder, port, bin_folder = new_folder(), free_port(), programs()
        assert bin_folder is not None
        as_user = _not_root(folder)
        source = f"host=127.0.0.1 port={self.port} user=portal application_name=standby"
        copy = [str(bin_folder / "pg_basebackup"), "-d", source, "-D", str(folder / "data"), "-R", "-X", "stream"]
        subprocess.run([*as_user, *copy, "--no-sync", "-c", "fast"], check=True, capture_output=True, cwd="/")
        made = Cluster(folder, port, as_user)
        made._run()
        return made

    def promote(self) -> None:
        self._control("-w", "promote")

    def kill(self) -> None:
        self._control("-m", "immediate", "stop", check=False)

    @property
    def url(self) -> str:
        return f"postgresql://portal@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)


def _not_root(folder: Path) -> list[str]:
    """Return options to run as Debian's postgres user under root: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["runuser", "-u", "postgres", "--"]
