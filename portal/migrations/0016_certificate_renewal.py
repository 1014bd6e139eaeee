"""Client certificates that are renewed at Microsoft."""
from peewee import *


def up(migrator, db):
    migrator.migrate(migrator.add_column("token_config", "app_object_id", CharField(max_length=36, default="")))

    class TokenConfig(Model):
        class Meta:
            database = db
            table_name = "token_config"

    class CertificateRenewal(Model):
        failing_since = DateTimeField(null=True)
        failure = TextField(null=True)
        failure_cause = CharField(max_length=60, null=True)
        failed_at = DateTimeField(null=True)
        failing_side = CharField(null=True)
        version = IntegerField(default=0)
        leased_until = DateTimeField(index=True, null=True)
        due_at = DateTimeField(index=True, null=True)
        token_config = ForeignKeyField(TokenConfig, unique=True, on_delete="CASCADE")
        key_id = CharField(max_length=100, null=True)
        next_certificate = TextField(null=True)
        next_private_key = TextField(null=True)
        next_added_at = DateTimeField(null=True)
        next_key_id = CharField(max_length=100, null=True)
        replaced_key_id = CharField(max_length=100, null=True)

        class Meta:
            database = db
            table_name = "certificate_renewal"

    db.create_tables([CertificateRenewal])


def down(migrator, db):
    db.execute_sql("DROP TABLE certificate_renewal")
    migrator.migrate(migrator.drop_column("token_config", "app_object_id"))
