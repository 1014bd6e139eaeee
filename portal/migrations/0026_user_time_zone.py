"""The time zone in which a user reads times."""

from peewee import SQL, CharField


def up(migrator, db):
    # A default of the database: the program before this migration inserts users without the column.
    field = CharField(max_length=50, default="", constraints=[SQL("DEFAULT ''")])
    migrator.migrate(migrator.add_column("user", "time_zone", field))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("user", "time_zone"))
