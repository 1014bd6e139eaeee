"""Notices to services beside email."""

from peewee import CharField, DateTimeField, ForeignKeyField, Model, TextField


def up(migrator, db):
    class Notice(Model):
        class Meta:
            database = db
            table_name = "notice"

    class NoticeChannel(Model):
        name = CharField(max_length=100, unique=True)
        url = TextField(null=True)
        severity = CharField(default="warning")
        quiet_from = CharField(max_length=5, default="")
        quiet_until = CharField(max_length=5, default="")
        failing_since = DateTimeField(null=True)
        failure = TextField(null=True)
        created_at = DateTimeField()
        changed_at = DateTimeField()

        class Meta:
            database = db
            table_name = "notice_channel"

    class NoticeDelivery(Model):
        channel = ForeignKeyField(NoticeChannel, on_delete="CASCADE")
        notice = ForeignKeyField(Notice, on_delete="CASCADE")
        opened_at = DateTimeField()
        closed_at = DateTimeField(null=True)

        class Meta:
            database = db
            table_name = "notice_delivery"
            indexes = ((("channel", "notice"), True),)

    db.create_tables([NoticeChannel, NoticeDelivery])


def down(migrator, db):
    db.execute_sql('DROP TABLE "notice_delivery"')
    db.execute_sql('DROP TABLE "notice_channel"')
