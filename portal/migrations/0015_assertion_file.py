"""The file with a client assertion that another program keeps fresh."""
from peewee import CharField


def up(migrator, db):
    migrator.migrate(migrator.add_column("token_config", "assertion_file", CharField(max_length=500, default="")))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("token_config", "assertion_file"))
