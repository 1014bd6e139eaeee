"""API keys of programs that manage the portal."""

from peewee import BooleanField


def up(migrator, db):
    migrator.migrate(migrator.add_column("api_key", "may_manage", BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("api_key", "may_manage"))
