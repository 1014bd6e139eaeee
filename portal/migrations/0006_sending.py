"""Outbound profiles and messages, web services, API keys, notices."""
# Generated from a schema diff on 2026-11-21 20:10.
from peewee import *

def up(migrator, db):
    class Token(Model):
        class Meta:
            database = db
            table_name = 'token'

    class TokenConfig(Model):
        class Meta:
            database = db
            table_name = 'token_config'

    class ApiKey(Model):
        name = CharField(unique=True, max_length=100)
        key_hash = CharField(unique=True, max_length=64)
        hint = CharField(max_length=16)
        networks = TextField(default='')
        may_send = BooleanField(default=False)
        ends_at = DateTimeField(null=True)
        comment = CharField(max_length=250, default='')
        used_at = DateTimeField(null=True)
        used_from = CharField(max_length=50, default='')
        created_at = DateTimeField()
        created_by = CharField(max_length=100)
        class Meta:
            database = db
            table_name = 'api_key'
    db.create_tables([ApiKey])

    class ApiKeyConfig(Model):
        api_key = ForeignKeyField(ApiKey, on_delete='CASCADE')
        token_config = ForeignKeyField(TokenConfig, on_delete='CASCADE')
        class Meta:
            database = db
            table_name = 'api_key_config'
            indexes = ((('api_key', 'token_config'), True),)
    db.create_tables([ApiKeyConfig])

    class OutboundProfile(Model):
        version = IntegerField(default=0)
        leased_until = DateTimeField(index=True, null=True)
        look_at = DateTimeField(index=True, null=True)
        name = CharField(unique=True, max_length=200)
        type = CharField()
        host = CharField(max_length=253)
        port = IntegerField()
        login = CharField(max_length=320, default='')
        token = ForeignKeyField(Token, null=True, on_delete='RESTRICT')
        password = TextField(null=True)
        senders = TextField(default='')
        fallback = BooleanField(default=False)
        sends_as = CharField(max_length=320, default='')
        per_minute = IntegerField(null=True)
        connections = IntegerField(default=1)
        timeout = IntegerField(default=60)
        ca = TextField(default='')
        fingerprint = CharField(max_length=64, default='')
        validity = CharField(default='valid')
        comment = CharField(max_length=250, default='')
        sent_at = DateTimeField(null=True)
        failing_since = DateTimeField(null=True)
        tries = IntegerField(default=0)
        failure = TextField(null=True)
        created_at = DateTimeField()
        changed_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'outbound_profile'
    db.create_tables([OutboundProfile])

    class WebService(Model):
        name = CharField(unique=True, max_length=200)
        method = CharField(max_length=10, default='POST')
        url = TextField()
        headers = TextField(default='')
        body = TextField(default='')
        authentication = CharField(default='none')
        login = CharField(max_length=320, default='')
        secret = TextField(null=True)
        token = ForeignKeyField(Token, null=True, on_delete='RESTRICT')
        ca = TextField(default='')
        timeout = IntegerField(default=30)
        success = CharField(max_length=200, default='200-299')
        most_tries = IntegerField(default=8)
        occasions = TextField(default='')
        validity = CharField(default='valid')
        comment = CharField(max_length=250, default='')
        succeeded_at = DateTimeField(null=True)
        failing_since = DateTimeField(null=True)
        failure = TextField(null=True)
        created_at = DateTimeField()
        changed_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'web_service'
    db.create_tables([WebService])

    class HandOut(Model):
        api_key = ForeignKeyField(ApiKey, null=True, on_delete='CASCADE')
        token = ForeignKeyField(Token, on_delete='CASCADE')
        borrower = CharField(max_length=100)
        key = CharField(unique=True, max_length=150)
        count = IntegerField(default=0)
        first_at = DateTimeField()
        last_at = DateTimeField()
        class Meta:
            database = db
            table_name = 'hand_out'
    db.create_tables([HandOut])

    class Notice(Model):
        key = CharField(index=True, max_length=400)
        text = TextField()
        opened_at = DateTimeField()
        closed_at = DateTimeField(index=True, null=True)
        class Meta:
            database = db
            table_name = 'notice'
    db.create_tables([Notice])

    class OutboundMessage(Model):
        profile = ForeignKeyField(OutboundProfile, null=True, on_delete='SET NULL')
        key = CharField(unique=True, max_length=64)
        sender = CharField(max_length=320)
        message_id = CharField(max_length=998)
        subject = CharField(max_length=200, default='')
        size = BigIntegerField()
        state = CharField(default='queued')
        accepted_at = DateTimeField(index=True)
        accepted_by = CharField(max_length=200)
        tries = IntegerField(default=0)
        try_at = DateTimeField(index=True, null=True)
        begun_at = DateTimeField(index=True, null=True)
        settled_at = DateTimeField(index=True, null=True)
        repeated_at = DateTimeField(null=True)
        answer = TextField(null=True)
        bounce_of = ForeignKeyField('self', null=True, on_delete='SET NULL')
        class Meta:
            database = db
            table_name = 'outbound_message'
            indexes = ((('profile', 'state', 'try_at'), False),)
    db.create_tables([OutboundMessage])

    class OutboundPart(Model):
        message = ForeignKeyField(OutboundMessage, on_delete='CASCADE')
        number = IntegerField()
        content = BlobField()
        class Meta:
            database = db
            table_name = 'outbound_part'
            indexes = ((('message', 'number'), True),)
    db.create_tables([OutboundPart])

    class OutboundRecipient(Model):
        message = ForeignKeyField(OutboundMessage, on_delete='CASCADE')
        address = CharField(max_length=320)
        state = CharField(default='queued')
        answer = TextField(null=True)
        settled_at = DateTimeField(null=True)
        class Meta:
            database = db
            table_name = 'outbound_recipient'
    db.create_tables([OutboundRecipient])

    class WebServiceCall(Model):
        version = IntegerField(default=0)
        leased_until = DateTimeField(index=True, null=True)
        look_at = DateTimeField(index=True, null=True)
        web_service = ForeignKeyField(WebService, on_delete='CASCADE')
        key = CharField(unique=True, max_length=64)
        cause = CharField(max_length=250)
        url = TextField()
        headers = TextField(null=True)
        body = TextField(null=True)
        state = CharField(default='queued')
        tries = IntegerField(default=0)
        status = IntegerField(null=True)
        answer = TextField(null=True)
        created_at = DateTimeField(index=True)
        ended_at = DateTimeField(null=True)
        seconds = FloatField(null=True)
        class Meta:
            database = db
            table_name = 'web_service_call'
    db.create_tables([WebServiceCall])

    migrator.migrate(migrator.add_column('destination', 'outbound_profile_id', ForeignKeyField(OutboundProfile, field=OutboundProfile.id, null=True, on_delete='RESTRICT')))
    migrator.migrate(migrator.add_column('destination', 'web_service_id', ForeignKeyField(WebService, field=WebService.id, null=True, on_delete='RESTRICT')))


def down(migrator, db):
    migrator.migrate(migrator.drop_index('destination', 'destination_web_service_id'))
    migrator.migrate(migrator.drop_index('destination', 'destination_outbound_profile_id'))
    migrator.migrate(migrator.drop_column('destination', 'web_service_id'))
    migrator.migrate(migrator.drop_column('destination', 'outbound_profile_id'))
    migrator.migrate(migrator.drop_table('web_service_call'))
    migrator.migrate(migrator.drop_table('outbound_recipient'))
    migrator.migrate(migrator.drop_table('outbound_part'))
    migrator.migrate(migrator.drop_table('outbound_message'))
    migrator.migrate(migrator.drop_table('notice'))
    migrator.migrate(migrator.drop_table('hand_out'))
    migrator.migrate(migrator.drop_table('web_service'))
    migrator.migrate(migrator.drop_table('outbound_profile'))
    migrator.migrate(migrator.drop_table('api_key_config'))
    migrator.migrate(migrator.drop_table('api_key'))
