"""API keys of programs that cannot authenticate."""
from peewee import BooleanField


def up(migrator, db):
    migrator.migrate(migrator.add_column("api_key", "for_relay", BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("api_key", "for_relay"))
