"""The language of a user, and the message of a notice's text for its translation."""

from peewee import SQL, CharField, TextField


def up(migrator, db):
    # A default of the database: the program before this migration inserts users without the column.
    field = CharField(max_length=20, default="", constraints=[SQL("DEFAULT ''")])
    migrator.migrate(migrator.add_column("user", "language", field))
    migrator.migrate(migrator.add_column("notice", "message", TextField(null=True)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("notice", "message"))
    migrator.migrate(migrator.drop_column("user", "language"))
