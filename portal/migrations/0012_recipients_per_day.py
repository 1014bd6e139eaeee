"""The number of recipients that an outbound profile sends to in a day."""
from peewee import IntegerField


def up(migrator, db):
    migrator.migrate(migrator.add_column("outbound_profile", "per_day", IntegerField(null=True)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("outbound_profile", "per_day"))
