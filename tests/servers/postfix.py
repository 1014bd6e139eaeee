"""Postfix with its submission server: STARTTLS, a password, and one mailbox for everything that it accepts."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.servers import debian_root
from tests.servers.debian_root import MAIL_UID, PASSWORD, run
from tests.servers.ports import free_port

_MAIN = f"""\
compatibility_level = 3.6
myhostname = x.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = /var/log/postfix.log
smtpd_tls_chain_files = /etc/postfix/server.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
virtual_mailbox_domains = x.test y.test
virtual_mailbox_base = /srv/postfix
virtual_mailbox_maps = static:box/
virtual_uid_maps = static:{MAIL_UID}
virtual_gid_maps = static:{MAIL_UID}
virtual_minimum_uid = 1
message_size_limit = 1000000
"""
_SASL = "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n"


@dataclass
class Postfix:
    port: int
    box: Path
    login: str = "sender@x.test"
    password: str = PASSWORD

    @classmethod
    def start(cls, certificates: Path) -> "Postfix":
        debian_root.end_all()
        port = free_port()
        box = debian_root.empty_folder("/srv/postfix", "mail") / "box"
        debian_root.certificate(certificates, "/etc/postfix/server.pem", "root")
        debian_root.write("/etc/postfix/main.cf", _MAIN)
        debian_root.write("/etc/postfix/sasl/smtpd.conf", _SASL)
        master = debian_root.ROOT / "usr" / "share" / "postfix" / "master.cf.dist"
        # Not in Postfix's own chroot, where the passwords are missing.
        server = re.sub(
            r"^smtp +inet.*$", f"127.0.0.1:{port} inet n - n - - smtpd", master.read_text(), flags=re.MULTILINE
        )
        debian_root.write("/etc/postfix/master.cf", server)
        run("saslpasswd2", "-p", "-c", "-u", "x.test", "sender", stdin=PASSWORD)
        run("chown", "postfix", "/etc/sasldb2")
        run("postfix", "start")
        debian_root.wait_for_port(port)
        return cls(port, box)

    def stop(self) -> None:
        run("postfix", "stop")
