"""Flows, client authentication, several secrets, owner links, device codes, import drafts."""
from peewee import *

def up(migrator, db):
    class LoginSession(Model):
        class Meta:
            database = db
            table_name = 'login_session'

    class Token(Model):
        class Meta:
            database = db
            table_name = 'token'

    class DeviceSignIn(Model):
        version = IntegerField(default=0)
        leased_until = DateTimeField(null=True)
        look_at = DateTimeField(index=True, null=True)
        token = ForeignKeyField(Token, on_delete='CASCADE')
        device_code = TextField(null=True)
        user_code = CharField(max_length=100)
        verification_uri = TextField()
        verification_uri_complete = TextField(default='')
        interval = IntegerField()
        user_name = CharField(max_length=100)
        started_at = DateTimeField()
        expires_at = DateTimeField()
        ended_at = DateTimeField(null=True)
        failure = TextField(null=True)
        class Meta:
            database = db
            table_name = 'device_sign_in'
    db.create_tables([DeviceSignIn])

    class ImportDraft(Model):
        login_session = ForeignKeyField(LoginSession, on_delete='CASCADE')
        content = TextField(null=True)
        passphrase = TextField(null=True)
        overwrite = BooleanField()
        created_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'import_draft'
    db.create_tables([ImportDraft])

    class OwnerLink(Model):
        key_hash = CharField(unique=True, max_length=64)
        token = ForeignKeyField(Token, on_delete='CASCADE')
        created_by = CharField(max_length=100)
        created_at = DateTimeField()
        used_at = DateTimeField(null=True)
        class Meta:
            database = db
            table_name = 'owner_link'
    db.create_tables([OwnerLink])

    migrator.migrate(migrator.add_column('token_config', 'flow', CharField(default='authorization_code')))
    migrator.migrate(migrator.add_column('token_config', 'client_auth', CharField(default='client_secret_post')))
    migrator.migrate(migrator.add_column('token_config', 'certificate', TextField(null=True)))
    migrator.migrate(migrator.add_column('token_config', 'private_key', TextField(null=True)))
    migrator.migrate(migrator.add_column('token_config', 'device_url', TextField(default='')))
    migrator.migrate(migrator.add_column('token_config', 'revocation_url', TextField(default='')))
    migrator.migrate(migrator.add_column('token_config', 'in_testing', BooleanField(default=False)))
    migrator.migrate(migrator.add_column('client_secret', 'ends_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('client_secret', 'refused_at', DateTimeField(null=True)))
    migrator.migrate(migrator.add_column('sign_in', 'owner_link_id', ForeignKeyField(OwnerLink, field=OwnerLink.id, null=True, on_delete='CASCADE')))
    migrator.migrate(migrator.add_column('sign_in', 'replaces_owner', BooleanField(default=False)))


def down(migrator, db):
    migrator.migrate(migrator.drop_index('sign_in', 'sign_in_owner_link_id'))
    migrator.migrate(migrator.drop_column('sign_in', 'replaces_owner'))
    migrator.migrate(migrator.drop_column('sign_in', 'owner_link_id'))
    migrator.migrate(migrator.drop_column('client_secret', 'refused_at'))
    migrator.migrate(migrator.drop_column('client_secret', 'ends_at'))
    migrator.migrate(migrator.drop_column('token_config', 'in_testing'))
    migrator.migrate(migrator.drop_column('token_config', 'revocation_url'))
    migrator.migrate(migrator.drop_column('token_config', 'device_url'))
    migrator.migrate(migrator.drop_column('token_config', 'private_key'))
    migrator.migrate(migrator.drop_column('token_config', 'certificate'))
    migrator.migrate(migrator.drop_column('token_config', 'client_auth'))
    migrator.migrate(migrator.drop_column('token_config', 'flow'))
    migrator.migrate(migrator.drop_table('owner_link'))
    migrator.migrate(migrator.drop_table('import_draft'))
    migrator.migrate(migrator.drop_table('device_sign_in'))
