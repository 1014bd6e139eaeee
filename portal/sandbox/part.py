"""The sandbox as a part of ``run --sandbox``: prepared by the supervisor, run as a separate process."""

import sys
from datetime import datetime

from portal.core import keys
from portal.core.config import Config
from portal.core.db import connected
from portal.core.errors import ConfigError
from portal.core.keys import KeyFile
from portal.models import User
from portal.runtime.supervisor import Part, listen
from portal.sandbox import certificates, seed, store
from portal.sandbox.addresses import HOST, Addresses

#: Subfolder that exists only in the data folder of a demo.
FOLDER = "sandbox"


def is_demo(config: Config) -> bool:
    return (config.data_dir / FOLDER / "sandbox.db").exists()


def _refuse_real_data(config: Config) -> None:
    """Raise ConfigError if the data folder contains real data, so that demo users never mix with real users."""
    with connected():
        if not is_demo(config) and User.select().exists():
            raise ConfigError(f"PORTAL_DATA: {config.data_dir} contains real data; use another folder for the demo")


def prepare(config: Config, *, now: datetime) -> tuple[Part, dict[str, str]]:
    """Create certificates and example data. Return the part, and the environment for the other parts."""
    folder = config.data_dir / FOLDER
    _refuse_real_data(config)
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in Addresses.of(config).ports():
        with listen(HOST, port, "The sandbox uses the ports after PORTAL_BIND"):
            pass  # reports a port in use now, in one line
    certificates.make(folder)
    store.open_store(folder / "sandbox.db")
    keys.use(KeyFile.of(config))
    with connected(), store.database.connection_context():
        seed.create(config, now=now)
    trusted = folder / "trusted.pem"
    extra = config.ca_file.read_text(encoding="utf-8") if config.ca_file else ""
    trusted.write_text((folder / "ca.pem").read_text(encoding="ascii") + extra, encoding="utf-8")
    command, ports = [sys.executable, "-m", "portal.sandbox"], Addresses.of(config).ports()
    return Part("sandbox", command, ports=tuple(ports)), {"PORTAL_CA_FILE": str(trusted)}
