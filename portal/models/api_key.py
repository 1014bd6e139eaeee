"""Keys by which programs borrow access tokens and send mail, and what they have borrowed."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, ModelSelect, TextField

from portal.core.fields import UtcField
from portal.models.base import Row
from portal.models.token import Token
from portal.models.token_config import TokenConfig


class ApiKey(Row):
    kind = "API key"
    token_configs: "ModelSelect[ApiKeyConfig]"
    hand_outs: "ModelSelect[HandOut]"

    name = CharField(max_length=100, unique=True)
    #: SHA-256: the key has 256 random bits, so nothing slower is needed to keep it from being guessed.
    key_hash = CharField(max_length=64, unique=True)
    #: Its first characters, by which people recognise it.
    hint = CharField(max_length=16)
    #: Networks that it may come from, such as ``10.1.0.0/16, 127.0.0.1``; empty: any.
    networks = TextField(default="")
    #: Whether mail may be sent with it.
    may_send = BooleanField(default=False)
    #: Whether it may ask how it stands.
    may_watch = BooleanField(default=False)
    #: NULL: no end.
    ends_at = UtcField(null=True)
    comment = CharField(max_length=250, default="")
    #: NULL: never.
    used_at = UtcField(null=True)
    used_from = CharField(max_length=50, default="")
    created_at = UtcField()
    created_by = CharField(max_length=100)


class ApiKeyConfig(Row):
    """A configuration whose tokens a key may borrow."""

    api_key = ForeignKeyField(ApiKey, backref="token_configs", on_delete="CASCADE")
    token_config = ForeignKeyField(TokenConfig, backref="api_keys", on_delete="CASCADE")

    class Meta:
        indexes = ((("api_key", "token_config"), True),)


class HandOut(Row):
    """How often a token went to one borrower at one address."""

    #: NULL: a local user, by the portal's socket.
    api_key = ForeignKeyField(ApiKey, backref="hand_outs", null=True, on_delete="CASCADE")
    token = ForeignKeyField(Token, backref="hand_outs", on_delete="CASCADE")
    #: An address, or ``user NAME``.
    borrower = CharField(max_length=100)
    #: The three in one, so that there is but one such row whoever is first to write it.
    key = CharField(max_length=150, unique=True)
    count = IntegerField(default=0)
    first_at = UtcField()
    last_at = UtcField()
