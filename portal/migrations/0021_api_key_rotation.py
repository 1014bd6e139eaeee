"""The previous value of a replaced API key, which works for some time more."""
from peewee import *


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("api_key", "previous_hash", CharField(max_length=64, null=True)),
        migrator.add_column("api_key", "previous_ends_at", DateTimeField(null=True)),
        migrator.add_column("api_key", "previous_used_at", DateTimeField(null=True)),
        migrator.add_index("api_key", ("previous_hash",), True),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_index("api_key", "api_key_previous_hash"),
        migrator.drop_column("api_key", "previous_used_at"),
        migrator.drop_column("api_key", "previous_ends_at"),
        migrator.drop_column("api_key", "previous_hash"),
    )
