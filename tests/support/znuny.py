"""A Znuny export and the import plan for it."""

from typing import Any

import yaml

from portal.tokens import import_export


def plan(content: Any, **options: Any) -> list[import_export.Step]:
    raw = content if isinstance(content, bytes) else yaml.safe_dump(content).encode()
    return import_export.plan(raw, **{"overwrite": False, **options})


def znuny(name: str, **config: Any) -> dict[str, Any]:
    base = "https://login.microsoftonline.com/consumers/oauth2/v2.0"
    requests = {
        "AuthorizationCode": {"Request": {"URL": f"{base}/authorize"}},
        "TokenByAuthorizationCode": {"Request": {"URL": f"{base}/token"}},
        "TokenByRefreshToken": {"Request": {"URL": f"{base}/token"}},
    }
    content = {
        "ClientID": 1111, "ClientSecret": 1111, "Scope": "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
        "TemplateName": "Microsoft Outlook (consumers)", "Requests": requests,
        "Notifications": {"NotifyOnExpiredToken": 1, "NotifyOnExpiredRefreshToken": 1}, **config,
    }  # fmt: skip
    return {"Name": name, "ValidID": 1, "CreateBy": 1, "CreateTime": "2022-01-01 00:00:00", "Config": content}
