"""POP3, marks and moves, trust, an interval of its own, quarantine."""
from peewee import *

def up(migrator, db):
    migrator.migrate(migrator.add_column('mail_account', 'move_to', CharField(max_length=500, default='')))
    migrator.migrate(migrator.add_column('mail_account', 'trusted', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('mail_account', 'fetch_interval', IntegerField(null=True)))
    migrator.migrate(migrator.add_column('message', 'marked_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('message', 'tries', IntegerField(default=0)))
    migrator.migrate(migrator.add_column('message', 'try_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_index('message', ('mail_account_id', 'digest')))


def down(migrator, db):
    migrator.migrate(migrator.drop_index('message', 'message_mail_account_id_digest'))
    migrator.migrate(migrator.drop_column('message', 'try_at'))
    migrator.migrate(migrator.drop_column('message', 'tries'))
    migrator.migrate(migrator.drop_column('message', 'marked_at'))
    migrator.migrate(migrator.drop_column('mail_account', 'fetch_interval'))
    migrator.migrate(migrator.drop_column('mail_account', 'trusted'))
    migrator.migrate(migrator.drop_column('mail_account', 'move_to'))
