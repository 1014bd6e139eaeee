"""API keys, with which programs get access tokens and send mail, and their usage counts."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, ModelSelect, TextField

from portal.core.fields import UtcField
from portal.core.text import split_list
from portal.models.base import Row
from portal.models.token import Token
from portal.models.token_config import TokenConfig


class ApiKey(Row):
    kind = "API key"
    token_configs: "ModelSelect[ApiKeyConfig]"
    usage_counts: "ModelSelect[UsageCount]"

    name = CharField(max_length=100, unique=True)
    #: SHA-256. The key has 256 random bits, so a slower hash is not needed.
    key_hash = CharField(max_length=64, unique=True)
    #: The first characters of the key, for display.
    hint = CharField(max_length=16)
    #: Networks from which the key is accepted, such as ``10.1.0.0/16, 127.0.0.1``; empty: any.
    networks = TextField(default="")
    #: Permission to send mail.
    may_send = BooleanField(default=False)
    #: Addresses and domains, such as ``@example.com``, that mail may be sent from; empty: any.
    senders = TextField(default="")
    #: Messages that may be submitted in an hour. NULL: any number.
    per_hour = IntegerField(null=True)
    #: Programs in the networks send on the relay listener without the key, such as printers (PORTAL_RELAY).
    for_relay = BooleanField(default=False)
    #: Permission to read the health status.
    may_read_health = BooleanField(default=False)
    #: Permission to read and change the portal's configuration.
    may_manage = BooleanField(default=False)
    #: NULL: the key does not expire.
    ends_at = UtcField(null=True)
    #: SHA-256 of the key that was replaced. NULL: none was.
    previous_hash = CharField(max_length=64, null=True, unique=True)
    #: Until then the replaced key works too. NULL: none was replaced.
    previous_ends_at = UtcField(null=True)
    #: NULL: the replaced key has not been used since.
    previous_used_at = UtcField(null=True)
    comment = CharField(max_length=250, default="")
    #: NULL: the key has never been used.
    used_at = UtcField(null=True)
    used_from = CharField(max_length=50, default="")
    created_at = UtcField()
    created_by = CharField(max_length=100)

    @property
    def submitter(self) -> str:
        """How messages that were submitted with this key name it."""
        return f"API key {self.name}"

    def may_send_from(self, address: str) -> bool:
        known, address = split_list(self.senders), address.lower()
        is_plain = address.count("@") == 1
        return not known or (is_plain and (address in known or f"@{address.rpartition('@')[2]}" in known))


class ApiKeyConfig(Row):
    """A token configuration whose access tokens an API key may get."""

    api_key = ForeignKeyField(ApiKey, backref="token_configs", on_delete="CASCADE")
    token_config = ForeignKeyField(TokenConfig, backref="api_keys", on_delete="CASCADE")

    class Meta:
        indexes = ((("api_key", "token_config"), True),)


class UsageCount(Row):
    """Usage count: how often an access token was issued to one client."""

    #: NULL: the client is a local user, connected through the portal's socket.
    api_key = ForeignKeyField(ApiKey, backref="usage_counts", null=True, on_delete="CASCADE")
    token = ForeignKeyField(Token, backref="usage_counts", on_delete="CASCADE")
    #: The client's IP address, or ``user NAME``.
    client = CharField(max_length=100)
    #: API key, token and client combined; unique, so that concurrent writers create only one row.
    key = CharField(max_length=150, unique=True)
    count = IntegerField(default=0)
    first_at = UtcField()
    last_at = UtcField()
