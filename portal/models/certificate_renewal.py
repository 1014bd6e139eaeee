"""The renewal of a client certificate at Microsoft."""

from datetime import datetime

from peewee import CharField, ForeignKeyField, TextField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Leased
from portal.models.failing import Failing
from portal.models.token_config import TokenConfig


class CertificateRenewal(Failing, Leased):
    """The next certificate of a configuration, until it replaces the current one; due when the next step is."""

    kind = "certificate renewal"

    token_config = ForeignKeyField(TokenConfig, unique=True, on_delete="CASCADE")
    #: Microsoft's ID of the certificate in use. NULL: it was uploaded by a person, and its ID is unknown.
    key_id = CharField(max_length=100, null=True)
    #: PEM. NULL: no renewal is in progress.
    next_certificate = TextField(null=True)
    next_private_key = EncryptedField()
    #: When the next certificate was added at Microsoft. NULL: not added yet.
    next_added_at = UtcField(null=True)
    #: Microsoft's ID of the next certificate. NULL as above, or its response was lost.
    next_key_id = CharField(max_length=100, null=True)
    #: Microsoft's ID of the replaced certificate. NULL: there is none to remove.
    replaced_key_id = CharField(max_length=100, null=True)

    @classmethod
    def plan(cls, config: TokenConfig, now: datetime) -> None:
        """Have a worker look at the certificate of a configuration now, or forget it if it is not to be renewed."""
        if not config.renews_certificate:
            cls.forget(config)
        elif not cls.update(due_at=now).where(cls.token_config == config.id).execute():
            cls.create(token_config=config, due_at=now)

    @classmethod
    def forget(cls, config: TokenConfig) -> None:
        cls.delete().where(cls.token_config == config.id).execute()
