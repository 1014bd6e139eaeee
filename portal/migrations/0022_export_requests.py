"""Exports with secrets that another admin approves."""
from peewee import *


def up(migrator, db):
    class User(Model):
        class Meta:
            database = db
            table_name = "user"

    class ExportRequest(Model):
        requested_by = ForeignKeyField(User, on_delete="CASCADE")
        requested_at = DateTimeField()
        approved_by = ForeignKeyField(User, on_delete="CASCADE", null=True)
        approved_at = DateTimeField(null=True)

        class Meta:
            database = db
            table_name = "export_request"

    db.create_tables([ExportRequest])


def down(migrator, db):
    db.execute_sql("DROP TABLE export_request")
