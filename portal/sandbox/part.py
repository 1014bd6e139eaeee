"""The sandbox as a part of ``run --sandbox``: prepared by the supervisor, run as a process of its own."""

import sys
from datetime import datetime

from portal.core import encryption
from portal.core.config import Config
from portal.core.db import connected
from portal.core.errors import ConfigError
from portal.models import User
from portal.runtime.supervisor import Part, listen
from portal.sandbox import certificates, seed, store
from portal.sandbox.addresses import HOST, Addresses

#: In the data folder of a demo, and of no other.
FOLDER = "sandbox"


def is_demo(config: Config) -> bool:
    return (config.data_dir / FOLDER / "sandbox.db").exists()


def _refuse_real_data(config: Config) -> None:
    """The demo puts its own users and accounts into a folder of its own, never beside real ones."""
    with connected():
        if not is_demo(config) and User.select().exists():
            raise ConfigError(f"PORTAL_DATA: {config.data_dir} holds real data; give the demo a folder of its own")


def prepare(config: Config, *, now: datetime) -> tuple[Part, dict[str, str]]:
    """Make certificates and example data; return the part, and what the other parts need to trust it."""
    folder = config.data_dir / FOLDER
    _refuse_real_data(config)
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in Addresses.of(config).ports():
        with listen(HOST, port, "The sandbox listens behind PORTAL_BIND"):
            pass  # a taken port is told now, in one line
    certificates.make(folder)
    store.open_store(folder / "sandbox.db")
    encryption.use_keys(encryption.read_key_file(config.keys_file))
    with connected(), store.database.connection_context():
        seed.sow(config, now=now)
    trusted = folder / "trusted.pem"
    extra = config.ca_file.read_text(encoding="utf-8") if config.ca_file else ""
    trusted.write_text((folder / "ca.pem").read_text(encoding="ascii") + extra, encoding="utf-8")
    return Part("sandbox", [sys.executable, "-m", "portal.sandbox"]), {"PORTAL_CA_FILE": str(trusted)}
