"""The token configurations to which the rights of an operator are limited."""

from peewee import ForeignKeyField

from portal.models.base import Row
from portal.models.token_config import TokenConfig
from portal.models.user import User


class UserConfig(Row):
    """One allowed configuration of a user whose ``is_limited`` is set."""

    user = ForeignKeyField(User, backref="configs", on_delete="CASCADE")
    token_config = ForeignKeyField(TokenConfig, on_delete="CASCADE")

    class Meta:
        indexes = ((("user", "token_config"), True),)
