"""The sandbox process: provider, IMAP, POP3, SMTP and Graph servers, and a generator of new mail."""

import logging
import os
import signal
import threading
from pathlib import Path

from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

from portal.core import log
from portal.core.config import from_environment
from portal.sandbox import certificates, graph_server, mail_generator, mail_servers, smtp_server, store
from portal.sandbox.addresses import HOST, Addresses
from portal.sandbox.provider import create_provider


def main() -> None:
    config = from_environment()
    log.set_up(config.log_format)
    for name in ("werkzeug", "mail.log"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # the provider only listens on loopback
    folder, addresses = config.data_dir / "sandbox", Addresses.of(config)
    store.open_store(folder / "sandbox.db")
    context = certificates.server_context(folder)
    provider = create_provider(addresses.provider, _key(folder / "signing.pem"))
    servers = [
        make_server(HOST, addresses.provider_port, provider, threaded=True),
        mail_servers.TlsServer(addresses.imap_port, mail_servers.ImapHandler, context),
        mail_servers.TlsServer(addresses.pop3_port, mail_servers.Pop3Handler, context),
        mail_servers.TlsServer(addresses.graph_port, graph_server.GraphHandler, context),
    ]
    smtp_server.start(addresses.smtp_port, context)
    stop = threading.Event()
    for run in (*(server.serve_forever for server in servers), lambda: mail_generator.run(stop)):
        threading.Thread(target=run, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    stop.wait()


def _key(path: Path) -> RSAKey:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(RSAKey.generate_key(2048).as_pem(private=True))
    return RSAKey.import_key(path.read_bytes(), {"kid": "sandbox", "use": "sig", "alg": "RS256"})


if __name__ == "__main__":
    main()
