"""Large messages, own certificates, times of day, push, and what a message is called."""
# Generated from a schema diff on 2026-11-21 15:44.
from peewee import *

def up(migrator, db):
    class Run(Model):
        class Meta:
            database = db
            table_name = 'run'

    migrator.migrate(migrator.add_column('mail_account', 'large_messages', CharField(default='keep')))
    migrator.migrate(migrator.add_column('mail_account', 'move_large_to', CharField(max_length=500, default='')))
    migrator.migrate(migrator.add_column('mail_account', 'ca', TextField(default='')))
    migrator.migrate(migrator.add_column('mail_account', 'fingerprint', CharField(max_length=64, default='')))
    migrator.migrate(migrator.add_column('mail_account', 'fetch_times', CharField(max_length=200, default='')))
    migrator.migrate(migrator.add_column('mail_account', 'push', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('mail_account', 'listening_since', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('mail_account', 'push_failure', TextField(null=True)))
    migrator.migrate(migrator.add_column('run', 'seconds', FloatField(null=True)))
    migrator.migrate(migrator.add_column('run', 'cancelled_by', CharField(null=True, max_length=200)))
    migrator.migrate(migrator.add_column('message', 'sender', CharField(max_length=200, default='')))
    migrator.migrate(migrator.add_column('message', 'subject', CharField(max_length=200, default='')))
    migrator.migrate(migrator.add_column('message', 'run_id', ForeignKeyField(Run, field=Run.id, null=True, on_delete='SET NULL')))
    migrator.migrate(migrator.add_index('run', ('mail_account_id', 'started_at')))


def down(migrator, db):
    migrator.migrate(migrator.drop_index('message', 'message_run_id'))
    migrator.migrate(migrator.drop_index('run', 'run_mail_account_id_started_at'))
    migrator.migrate(migrator.drop_column('message', 'run_id'))
    migrator.migrate(migrator.drop_column('message', 'subject'))
    migrator.migrate(migrator.drop_column('message', 'sender'))
    migrator.migrate(migrator.drop_column('run', 'cancelled_by'))
    migrator.migrate(migrator.drop_column('run', 'seconds'))
    migrator.migrate(migrator.drop_column('mail_account', 'push_failure'))
    migrator.migrate(migrator.drop_column('mail_account', 'listening_since'))
    migrator.migrate(migrator.drop_column('mail_account', 'push'))
    migrator.migrate(migrator.drop_column('mail_account', 'fetch_times'))
    migrator.migrate(migrator.drop_column('mail_account', 'fingerprint'))
    migrator.migrate(migrator.drop_column('mail_account', 'ca'))
    migrator.migrate(migrator.drop_column('mail_account', 'move_large_to'))
    migrator.migrate(migrator.drop_column('mail_account', 'large_messages'))
