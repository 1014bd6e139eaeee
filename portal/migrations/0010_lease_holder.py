"""The process that fetches an account, and the state of its mailbox after a fetch that left nothing to do."""
from peewee import CharField

COLUMNS = [("held_by", 300), ("mailbox_state", 200)]


def up(migrator, db):
    for column, length in COLUMNS:
        migrator.migrate(migrator.add_column("mail_account", column, CharField(max_length=length, default="")))


def down(migrator, db):
    for column, _ in reversed(COLUMNS):
        migrator.migrate(migrator.drop_column("mail_account", column))
