"""Exports of token configurations."""

from portal.core.encryption import Secret
from portal.tokens import import_export
from tests.builders import ADMIN, NOW


def exported(names: list[str] | None = None, *, secrets: bool = False, passphrase: Secret | None = None) -> str:
    return import_export.export(names, secrets=secrets, passphrase=passphrase, actor=ADMIN, now=NOW)
