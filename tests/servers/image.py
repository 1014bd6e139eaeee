"""The container image, built by podman on a Debian base that debootstrap makes, because no registry is needed then."""

import configparser
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BASE, IMAGE = "localhost/debian:bookworm-slim", "localhost/mail-token-portal"
#: Within the limits of a sandbox; podman asks for more.
_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=2000:2000"]
_PIP_FOLDER = "/etc/xdg/pip"


@dataclass
class Image:
    folder: Path

    @classmethod
    def build(cls, folder: Path) -> "Image":
        made = cls(folder)
        base = folder / "base"
        codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
        _run("debootstrap", "--variant=minbase", codename, str(base), _debian(codename))
        archive = folder / "base.tar"
        _run("tar", "-C", str(base), "-cf", str(archive), ".")
        shutil.rmtree(base)
        made.podman("import", str(archive), _BASE)
        archive.unlink()
        mounts = [option for mount in _package_sources(folder) for option in ("-v", mount)]
        made.podman("build", "--format", "docker", "--isolation", "chroot", "--network", "host",
                    "--build-arg", f"BASE={_BASE}", *mounts, "-t", IMAGE, str(ROOT))  # fmt: skip
        return made

    def podman(self, *arguments: str, check: bool = True) -> str:
        state = ["--root", str(self.folder / "root"), "--runroot", str(self.folder / "run")]
        command = ["podman", *state, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
        return _run(*command, *arguments, check=check)

    def run(self, *options: str, command: tuple[str, ...] = ()) -> str:
        """Run a command of the portal in a container with a read-only root."""
        return self.podman("run", "--read-only", "--network", "host", *_LIMITS, *options, IMAGE, *command)

    @property
    def megabytes(self) -> int:
        return int(self.podman("image", "inspect", IMAGE, "--format", "{{.Size}}")) // 10**6

    def remove(self) -> None:
        self.podman("rm", "--all", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(command[:3])}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout.strip()


def _debian(codename: str) -> str:
    """The Debian mirror of this host."""
    listed = _run("apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)")
    return next(line.rpartition("|")[2] for line in listed.splitlines() if line.startswith(f"Debian|{codename}|main|"))


def _package_sources(folder: Path) -> list[str]:
    """Mounts with which apt and pip in the image find packages where those of this host find them."""
    found = {str(path): str(path) for path in Path("/etc/apt/sources.list.d").glob("*.sources")}
    found |= {str(path): str(path) for path in Path("/etc/apt/apt.conf.d").glob("99*")}
    settings: dict[str, str] = {}
    for name in ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.config/pip/pip.conf"):
        parser = configparser.RawConfigParser()
        parser.read(Path(name).expanduser())
        settings |= dict(parser.items("global")) if parser.has_section("global") else {}
    settings.pop("constraint", None)
    pip = folder / "pip"
    pip.mkdir()
    if bundle := settings.get("cert"):
        shutil.copy(bundle, pip / "ca.crt")
        settings["cert"] = f"{_PIP_FOLDER}/ca.crt"
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    with open(pip / "pip.conf", "w") as file:
        parser.write(file)
    found[str(pip)] = _PIP_FOLDER
    for path in re.findall(r"(?:file://)?(/[\w./-]+)", " ".join(settings.values())):
        if not path.startswith(_PIP_FOLDER) and Path(path).is_dir():
            # An index of files names those beside it.
            place = str(Path(path).parent if path.endswith("/simple") else path)
            found[place] = place
    return [f"{outside}:{inside}:ro" for outside, inside in found.items()]
