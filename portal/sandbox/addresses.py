"""Addresses of the sandbox servers: loopback, on the five ports after the portal's port."""

from dataclasses import dataclass

from portal.core.config import Config

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Addresses:
    provider_port: int
    imap_port: int
    pop3_port: int
    smtp_port: int
    graph_port: int

    @classmethod
    def of(cls, config: Config) -> "Addresses":
        return cls(*(config.bind_port + step for step in (1, 2, 3, 4, 5)))

    @property
    def provider(self) -> str:
        return f"http://{HOST}:{self.provider_port}"

    def ports(self) -> list[int]:
        return [self.provider_port, self.imap_port, self.pop3_port, self.smtp_port, self.graph_port]
