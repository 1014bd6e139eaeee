"""Notices with their causes; which side failed; counts for monitoring."""
# Generated from a schema diff on 2026-11-21 21:45.
from peewee import *

def up(migrator, db):
    class Tally(Model):
        name = CharField(max_length=40)
        outcome = CharField(max_length=40)
        count = BigIntegerField(default=0)
        seconds = FloatField(default=0.0)
        class Meta:
            database = db
            table_name = 'tally'
            indexes = ((('name', 'outcome'), True),)
    db.create_tables([Tally])

    class UnknownAnswer(Model):
        place = CharField(max_length=20)
        pattern = CharField(max_length=300)
        words = TextField()
        count = IntegerField(default=1)
        first_at = DateTimeField()
        last_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'unknown_answer'
            indexes = ((('place', 'pattern'), True),)
    db.create_tables([UnknownAnswer])

    migrator.migrate(migrator.add_column('outbound_profile', 'failed_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('outbound_profile', 'failing_side', CharField(null=True)))
    migrator.migrate(migrator.add_column('web_service', 'failed_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('web_service', 'failing_side', CharField(null=True)))
    migrator.migrate(migrator.add_column('mail_account', 'failed_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('mail_account', 'failing_side', CharField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'cause', CharField(max_length=60, default='unknown')))
    migrator.migrate(migrator.add_column('notice', 'tone', CharField(default='broken')))
    migrator.migrate(migrator.add_column('notice', 'words', TextField(default='')))
    migrator.migrate(migrator.add_column('notice', 'standing_still', TextField(default='')))
    migrator.migrate(migrator.add_column('notice', 'about_kind', CharField(null=True, max_length=40)))
    migrator.migrate(migrator.add_column('notice', 'about_id', IntegerField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'remedy', TextField(default='')))
    migrator.migrate(migrator.add_column('notice', 'of_machine', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('notice', 'was_broken', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('notice', 'since', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'told_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'end_told_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'telling_failure', TextField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'known_until', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('notice', 'known_by', CharField(max_length=100, default='')))
    migrator.migrate(migrator.add_column('notice', 'known_comment', CharField(max_length=250, default='')))
    migrator.migrate(migrator.add_column('api_key', 'may_watch', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('provider_host', 'clock_differs', IntegerField(null=True)))


def down(migrator, db):
    migrator.migrate(migrator.drop_column('api_key', 'may_watch'))
    migrator.migrate(migrator.drop_column('provider_host', 'clock_differs'))
    migrator.migrate(migrator.drop_column('notice', 'known_comment'))
    migrator.migrate(migrator.drop_column('notice', 'known_by'))
    migrator.migrate(migrator.drop_column('notice', 'known_until'))
    migrator.migrate(migrator.drop_column('notice', 'telling_failure'))
    migrator.migrate(migrator.drop_column('notice', 'end_told_at'))
    migrator.migrate(migrator.drop_column('notice', 'told_at'))
    migrator.migrate(migrator.drop_column('notice', 'since'))
    migrator.migrate(migrator.drop_column('notice', 'was_broken'))
    migrator.migrate(migrator.drop_column('notice', 'of_machine'))
    migrator.migrate(migrator.drop_column('notice', 'remedy'))
    migrator.migrate(migrator.drop_column('notice', 'about_id'))
    migrator.migrate(migrator.drop_column('notice', 'about_kind'))
    migrator.migrate(migrator.drop_column('notice', 'standing_still'))
    migrator.migrate(migrator.drop_column('notice', 'words'))
    migrator.migrate(migrator.drop_column('notice', 'tone'))
    migrator.migrate(migrator.drop_column('notice', 'cause'))
    migrator.migrate(migrator.drop_column('mail_account', 'failing_side'))
    migrator.migrate(migrator.drop_column('mail_account', 'failed_at'))
    migrator.migrate(migrator.drop_column('web_service', 'failing_side'))
    migrator.migrate(migrator.drop_column('web_service', 'failed_at'))
    migrator.migrate(migrator.drop_column('outbound_profile', 'failing_side'))
    migrator.migrate(migrator.drop_column('outbound_profile', 'failed_at'))
    migrator.migrate(migrator.drop_table('unknown_answer'))
    migrator.migrate(migrator.drop_table('tally'))
