"""POP3, marks and moves, trust, quarantine, more destinations and dispatching."""
from peewee import *

def up(migrator, db):
    class Destination(Model):
        class Meta:
            database = db
            table_name = 'destination'

    migrator.migrate(migrator.add_column('destination', 'host', CharField(max_length=253, default='')))
    migrator.migrate(migrator.add_column('destination', 'port', IntegerField(null=True)))
    migrator.migrate(migrator.add_column('destination', 'recipient', CharField(max_length=320, default='')))
    migrator.migrate(migrator.add_column('destination', 'command', TextField(default='')))
    migrator.migrate(migrator.add_column('destination', 'addresses', TextField(default='')))
    migrator.migrate(migrator.add_column('mail_account', 'dispatch_by_address', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('mail_account', 'move_to', CharField(max_length=500, default='')))
    migrator.migrate(migrator.add_column('mail_account', 'trusted', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('mail_account', 'fetch_interval', IntegerField(null=True)))
    migrator.migrate(migrator.add_column('message', 'destination_id', ForeignKeyField(Destination, field=Destination.id, null=True, on_delete='SET NULL')))
    migrator.migrate(migrator.add_column('message', 'marked_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('message', 'tries', IntegerField(default=0)))
    migrator.migrate(migrator.add_column('message', 'try_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_index('message', ('mail_account_id', 'digest')))


def down(migrator, db):
    migrator.migrate(migrator.drop_index('message', 'message_mail_account_id_digest'))
    migrator.migrate(migrator.drop_index('message', 'message_destination_id'))
    migrator.migrate(migrator.drop_column('message', 'try_at'))
    migrator.migrate(migrator.drop_column('message', 'tries'))
    migrator.migrate(migrator.drop_column('message', 'marked_at'))
    migrator.migrate(migrator.drop_column('message', 'destination_id'))
    migrator.migrate(migrator.drop_column('mail_account', 'fetch_interval'))
    migrator.migrate(migrator.drop_column('mail_account', 'trusted'))
    migrator.migrate(migrator.drop_column('mail_account', 'move_to'))
    migrator.migrate(migrator.drop_column('mail_account', 'dispatch_by_address'))
    migrator.migrate(migrator.drop_column('destination', 'addresses'))
    migrator.migrate(migrator.drop_column('destination', 'command'))
    migrator.migrate(migrator.drop_column('destination', 'recipient'))
    migrator.migrate(migrator.drop_column('destination', 'port'))
    migrator.migrate(migrator.drop_column('destination', 'host'))
