"""The tables of the first version. Frozen: later changes are migrations of their own."""
from peewee import *

def up(migrator, db):
    class TokenConfig(Model):
        name = CharField(unique=True, max_length=250)
        template = CharField(max_length=60)
        tenant = CharField(max_length=250, default='')
        client_id = CharField(max_length=500)
        authorize_url = TextField()
        token_url = TextField()
        refresh_url = TextField()
        scope = TextField(default='')
        issuer = TextField(default='')
        jwks_url = TextField(default='')
        userinfo_url = TextField(default='')
        validity = CharField(default='valid')
        notify_expired_token = BooleanField(default=False)
        notify_expired_refresh_token = BooleanField(default=True)
        credentials_refused_at = DateTimeField(null=True)
        credentials_answer = TextField(null=True)
        created_at = DateTimeField()
        changed_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'token_config'
    db.create_tables([TokenConfig])

    class ClientSecret(Model):
        token_config = ForeignKeyField(TokenConfig, on_delete='CASCADE')
        value = TextField(null=True)
        set_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'client_secret'
    db.create_tables([ClientSecret])

    class Destination(Model):
        name = CharField(unique=True, max_length=200)
        type = CharField()
        path = TextField()
        comment = CharField(max_length=250, default='')
        created_at = DateTimeField()
        changed_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'destination'
    db.create_tables([Destination])

    class Event(Model):
        at = DateTimeField(index=True)
        actor = CharField(max_length=100)
        action = CharField(index=True, max_length=60)
        subject_kind = CharField(max_length=40)
        subject_id = IntegerField(null=True)
        subject_name = CharField()
        details = TextField()
        class Meta:
            database = db
            table_name = 'event'
    db.create_tables([Event])

    class Heartbeat(Model):
        name = CharField(unique=True, max_length=60)
        holder = CharField(max_length=200)
        at = DateTimeField()
        class Meta:
            database = db
            table_name = 'heartbeat'
    db.create_tables([Heartbeat])

    class LoginFailures(Model):
        subject = CharField(unique=True, max_length=64)
        count = IntegerField()
        window_ends_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'login_failures'
    db.create_tables([LoginFailures])

    class User(Model):
        name = CharField(unique=True, max_length=100)
        role = CharField()
        password_hash = CharField()
        created_at = DateTimeField()
        disabled_at = DateTimeField(null=True)
        class Meta:
            database = db
            table_name = 'user'
    db.create_tables([User])

    class LoginSession(Model):
        key_hash = CharField(unique=True, max_length=64)
        user = ForeignKeyField(User, on_delete='CASCADE')
        created_at = DateTimeField()
        seen_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'login_session'
    db.create_tables([LoginSession])

    class Token(Model):
        version = IntegerField(default=0)
        leased_until = DateTimeField(null=True)
        look_at = DateTimeField(index=True, null=True)
        token_config = ForeignKeyField(TokenConfig, on_delete='CASCADE')
        owner = CharField(null=True, max_length=320)
        access_token = TextField(null=True)
        expires_at = DateTimeField(null=True)
        refresh_token = TextField(null=True)
        refresh_token_used_at = DateTimeField(null=True)
        refresh_token_expires_at = DateTimeField(null=True)
        granted_scope = TextField(null=True)
        signed_in_at = DateTimeField(null=True)
        signed_in_by = ForeignKeyField(User, null=True, on_delete='SET NULL')
        obtained_at = DateTimeField(null=True)
        failing_since = DateTimeField(null=True)
        tries = IntegerField(default=0)
        failure = TextField(null=True)
        refused_at = DateTimeField(null=True)
        class Meta:
            database = db
            table_name = 'token'
    db.create_tables([Token])

    class MailAccount(Model):
        version = IntegerField(default=0)
        leased_until = DateTimeField(null=True)
        look_at = DateTimeField(index=True, null=True)
        name = CharField(unique=True, max_length=200)
        type = CharField()
        host = CharField(max_length=253)
        port = IntegerField()
        login = CharField(max_length=320)
        token = ForeignKeyField(Token, null=True, on_delete='RESTRICT')
        password = TextField(null=True)
        folder = CharField(max_length=500, default='INBOX')
        destination = ForeignKeyField(Destination, on_delete='RESTRICT')
        after_fetch = CharField(default='keep')
        validity = CharField(default='valid')
        comment = CharField(max_length=250, default='')
        fetched_at = DateTimeField(null=True)
        failing_since = DateTimeField(null=True)
        tries = IntegerField(default=0)
        failure = TextField(null=True)
        created_at = DateTimeField()
        changed_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'mail_account'
    db.create_tables([MailAccount])

    class Message(Model):
        mail_account = ForeignKeyField(MailAccount, on_delete='CASCADE')
        mailbox = CharField(max_length=600)
        uid = CharField(max_length=100)
        delivery_key = CharField(unique=True, max_length=32)
        message_id = CharField(null=True, max_length=998)
        digest = CharField(null=True, max_length=64)
        size = BigIntegerField()
        state = CharField(default='seen')
        seen_at = DateTimeField()
        delivered_at = DateTimeField(null=True)
        removed_at = DateTimeField(null=True)
        failure = TextField(null=True)
        class Meta:
            database = db
            table_name = 'message'
            indexes = ((('mail_account', 'mailbox', 'uid'), True),)
    db.create_tables([Message])

    class Run(Model):
        mail_account = ForeignKeyField(MailAccount, on_delete='CASCADE')
        started_at = DateTimeField(index=True)
        ended_at = DateTimeField(null=True)
        outcome = CharField(default='running')
        found = IntegerField(null=True)
        delivered = IntegerField(default=0)
        failed = IntegerField(default=0)
        removed = IntegerField(default=0)
        size = BigIntegerField(default=0)
        class Meta:
            database = db
            table_name = 'run'
    db.create_tables([Run])

    class RunLine(Model):
        run = ForeignKeyField(Run, on_delete='CASCADE')
        at = DateTimeField()
        level = CharField(max_length=10)
        text = TextField()
        class Meta:
            database = db
            table_name = 'run_line'
    db.create_tables([RunLine])

    class Setting(Model):
        name = CharField(unique=True, max_length=100)
        value = TextField()
        changed_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'setting'
    db.create_tables([Setting])

    class SetupLink(Model):
        key_hash = CharField(unique=True, max_length=64)
        created_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'setup_link'
    db.create_tables([SetupLink])

    class SignIn(Model):
        state_hash = CharField(unique=True, max_length=64)
        token = ForeignKeyField(Token, on_delete='CASCADE')
        login_session = ForeignKeyField(LoginSession, null=True, on_delete='CASCADE')
        user_name = CharField(max_length=100)
        code_verifier = TextField(null=True)
        nonce = CharField(max_length=64)
        redirect_uri = TextField()
        started_at = DateTimeField()
        used_at = DateTimeField(null=True)
        failure = TextField(null=True)
        class Meta:
            database = db
            table_name = 'sign_in'
    db.create_tables([SignIn])


def down(migrator, db):
    migrator.migrate(migrator.drop_table('sign_in'))
    migrator.migrate(migrator.drop_table('setup_link'))
    migrator.migrate(migrator.drop_table('setting'))
    migrator.migrate(migrator.drop_table('run_line'))
    migrator.migrate(migrator.drop_table('run'))
    migrator.migrate(migrator.drop_table('message'))
    migrator.migrate(migrator.drop_table('mail_account'))
    migrator.migrate(migrator.drop_table('token'))
    migrator.migrate(migrator.drop_table('login_session'))
    migrator.migrate(migrator.drop_table('user'))
    migrator.migrate(migrator.drop_table('login_failures'))
    migrator.migrate(migrator.drop_table('heartbeat'))
    migrator.migrate(migrator.drop_table('event'))
    migrator.migrate(migrator.drop_table('destination'))
    migrator.migrate(migrator.drop_table('client_secret'))
    migrator.migrate(migrator.drop_table('token_config'))
