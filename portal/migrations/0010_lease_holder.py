"""The process that fetches an account is stored with its lease: one process fetches many accounts."""
from peewee import CharField


def up(migrator, db):
    migrator.migrate(migrator.add_column("mail_account", "held_by", CharField(max_length=300, default="")))


def down(migrator, db):
    migrator.migrate(migrator.drop_column("mail_account", "held_by"))
