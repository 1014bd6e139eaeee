"""Second factors of users, and what a user sees about the own sessions."""
from peewee import *


def up(migrator, db):
    class User(Model):
        class Meta:
            database = db
            table_name = "user"

    class Passkey(Model):
        user = ForeignKeyField(User, on_delete="CASCADE")
        name = CharField(max_length=100)
        credential_id = CharField(max_length=1400, unique=True)
        public_key = TextField()
        sign_count = IntegerField()
        created_at = DateTimeField()
        challenge_at = DateTimeField(null=True)
        used_at = DateTimeField(null=True)

        class Meta:
            database = db
            table_name = "passkey"

    class RecoveryCode(Model):
        user = ForeignKeyField(User, on_delete="CASCADE")
        code_hash = CharField(max_length=64, unique=True)

        class Meta:
            database = db
            table_name = "recovery_code"

    db.create_tables([Passkey, RecoveryCode])
    migrator.migrate(
        migrator.add_column("user", "totp_secret", TextField(null=True)),
        migrator.add_column("user", "totp_confirmed_at", DateTimeField(null=True)),
        migrator.add_column("user", "totp_last_step", IntegerField(default=0)),
        migrator.add_column("login_session", "confirmed_at", DateTimeField(null=True)),
        migrator.add_column("login_session", "address", CharField(max_length=100, default="")),
        migrator.add_column("login_session", "device", CharField(max_length=200, default="")),
    )


def down(migrator, db):
    for column in ("device", "address", "confirmed_at"):
        migrator.migrate(migrator.drop_column("login_session", column))
    for column in ("totp_last_step", "totp_confirmed_at", "totp_secret"):
        migrator.migrate(migrator.drop_column("user", column))
    db.execute_sql("DROP TABLE recovery_code")
    db.execute_sql("DROP TABLE passkey")
