"""The hash chain of the audit trail."""
from peewee import *


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("event", "link", IntegerField(null=True)),
        migrator.add_column("event", "link_hash", CharField(max_length=64, default="")),
        migrator.add_index("event", ("link",), True),
        migrator.add_index("event", ("actor",)),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_index("event", "event_actor"),
        migrator.drop_index("event", "event_link"),
        migrator.drop_column("event", "link_hash"),
        migrator.drop_column("event", "link"),
    )
