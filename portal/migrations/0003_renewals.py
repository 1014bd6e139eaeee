"""What renewals leave behind: provider hosts, days, a backlog, the refresh token before."""
from urllib.parse import urlsplit

from peewee import *

def up(migrator, db):
    class Token(Model):
        class Meta:
            database = db
            table_name = 'token'

    class Backlog(Model):
        name = CharField(unique=True, max_length=60)
        began_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'backlog'
    db.create_tables([Backlog])

    class ProviderHost(Model):
        name = CharField(unique=True)
        failing_since = DateTimeField(null=True)
        tries = IntegerField(default=0)
        failed_at = DateTimeField(null=True)
        failure = TextField(null=True)
        not_before = DateTimeField(null=True)
        asked_to_wait = BooleanField(default=False)
        class Meta:
            database = db
            table_name = 'provider_host'
    db.create_tables([ProviderHost])

    class RefreshDay(Model):
        token = ForeignKeyField(Token, on_delete='CASCADE')
        day = DateField()
        renewed = IntegerField(default=0)
        failed = IntegerField(default=0)
        class Meta:
            database = db
            table_name = 'refresh_day'
            indexes = ((('token', 'day'), True),)
    db.create_tables([RefreshDay])

    migrator.migrate(migrator.add_column('token_config', 'host', CharField(index=True, default='')))
    migrator.migrate(migrator.add_column('token', 'end_note', CharField(null=True, max_length=200)))
    migrator.migrate(migrator.add_column('token', 'previous_refresh_token', TextField(null=True)))
    migrator.migrate(migrator.add_column('token', 'failed_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('token', 'doubted_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_index('token', ('leased_until',)))
    migrator.migrate(migrator.add_index('device_sign_in', ('leased_until',)))
    migrator.migrate(migrator.add_index('mail_account', ('leased_until',)))
    _fill(db)


def _fill(db):
    class TokenConfig(Model):
        token_url = TextField()
        refresh_url = TextField()
        host = CharField()
        class Meta:
            database = db
            table_name = 'token_config'

    class Token(Model):
        failing_since = DateTimeField(null=True)
        failed_at = DateTimeField(null=True)
        class Meta:
            database = db
            table_name = 'token'

    for row in TokenConfig.select():
        row.host = urlsplit(row.refresh_url or row.token_url).netloc.rpartition('@')[2][:255]
        row.save(only=[TokenConfig.host])
    Token.update(failed_at=Token.failing_since).execute()


def down(migrator, db):
    migrator.migrate(migrator.drop_index('mail_account', 'mail_account_leased_until'))
    migrator.migrate(migrator.drop_index('device_sign_in', 'device_sign_in_leased_until'))
    migrator.migrate(migrator.drop_index('token', 'token_leased_until'))
    migrator.migrate(migrator.drop_index('token_config', 'token_config_host'))
    migrator.migrate(migrator.drop_column('token', 'doubted_at'))
    migrator.migrate(migrator.drop_column('token', 'failed_at'))
    migrator.migrate(migrator.drop_column('token', 'previous_refresh_token'))
    migrator.migrate(migrator.drop_column('token', 'end_note'))
    migrator.migrate(migrator.drop_column('token_config', 'host'))
    migrator.migrate(migrator.drop_table('refresh_day'))
    migrator.migrate(migrator.drop_table('provider_host'))
    migrator.migrate(migrator.drop_table('backlog'))
