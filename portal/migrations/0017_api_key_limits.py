"""The senders that an API key may use, and the messages that it may submit in an hour."""
from peewee import IntegerField, TextField


def up(migrator, db):
    migrator.migrate(migrator.add_column("api_key", "senders", TextField(default="")))
    migrator.migrate(migrator.add_column("api_key", "per_hour", IntegerField(null=True)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("api_key", "per_hour"))
    migrator.migrate(migrator.drop_column("api_key", "senders"))
