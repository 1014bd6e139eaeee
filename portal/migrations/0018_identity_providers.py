"""Users that sign in at the organisation's identity provider."""
from peewee import *


def up(migrator, db):
    class IdentityProvider(Model):
        name = CharField(max_length=100, unique=True)
        issuer = TextField()
        client_id = CharField(max_length=255)
        client_secret = TextField(null=True)
        scope = TextField(default="openid profile email")
        groups_claim = CharField(max_length=200, default="groups")
        admin_groups = TextField(default="")
        operator_groups = TextField(default="")
        auditor_groups = TextField(default="")
        viewer_groups = TextField(default="")
        authorize_url = TextField()
        sends_issuer = BooleanField(default=False)
        token_url = TextField()
        jwks_url = TextField()
        userinfo_url = TextField(default="")
        end_session_url = TextField(default="")
        created_at = DateTimeField()
        changed_at = DateTimeField()

        class Meta:
            database = db
            table_name = "identity_provider"

    db.create_tables([IdentityProvider])
    migrator.migrate(
        migrator.add_column("user", "issuer", TextField(default="")),
        migrator.add_column("user", "subject", CharField(max_length=255, null=True)),
        migrator.add_index("user", ("issuer", "subject"), True),
    )


def down(migrator, db):
    migrator.migrate(
        migrator.drop_index("user", "user_issuer_subject"),
        migrator.drop_column("user", "subject"),
        migrator.drop_column("user", "issuer"),
    )
    db.execute_sql("DROP TABLE identity_provider")
