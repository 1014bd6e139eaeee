"""The delta link of a mailbox at Microsoft Graph, and room for its message IDs, which are longer than UIDs."""
from peewee import CharField, PostgresqlDatabase, TextField


def up(migrator, db):
    migrator.migrate(migrator.add_column("mail_account", "delta_link", TextField(default="")))
    _resize_uid(migrator, db, 300)


def down(migrator, db):
    migrator.migrate(migrator.drop_column("mail_account", "delta_link"))
    _resize_uid(migrator, db, 100)


def _resize_uid(migrator, db, length):
    # SQLite ignores the length, and would copy the whole table.
    if isinstance(db, PostgresqlDatabase):
        migrator.migrate(migrator.alter_column_type("message", "uid", CharField(max_length=length)))
