"""The sandbox as a part of ``run --sandbox``: prepared by the supervisor, run as a process of its own."""

import sys
from datetime import datetime

from portal import sealing
from portal.config import Config
from portal.db import connected
from portal.sandbox import certificates, seed, store
from portal.sandbox.addresses import HOST, Addresses
from portal.supervisor import Part, listen


def prepare(config: Config, *, now: datetime) -> tuple[Part, dict[str, str]]:
    """Make certificates and example data; return the part, and what the other parts need to trust it."""
    folder = config.data_dir / "sandbox"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in Addresses.of(config).ports():
        with listen(HOST, port, "The sandbox listens behind PORTAL_BIND"):
            pass  # a taken port is told now, in one line
    certificates.make(folder)
    store.open_store(folder / "sandbox.db")
    sealing.use_keys(sealing.read_key_file(config.keys_file))
    with connected(), store.database.connection_context():
        seed.sow(config, now=now)
    trusted = folder / "trusted.pem"
    extra = config.ca_file.read_text(encoding="utf-8") if config.ca_file else ""
    trusted.write_text((folder / "ca.pem").read_text(encoding="ascii") + extra, encoding="utf-8")
    return Part("sandbox", [sys.executable, "-m", "portal.sandbox"]), {"PORTAL_CA_FILE": str(trusted)}
