"""Responses of Microsoft and Google, verbatim where documented, and the cause of each."""

from typing import NamedTuple


class Said(NamedTuple):
    cause: str
    error: str
    #: AADSTS error number; 0: none.
    number: int
    words: str
    status: int = 400


MICROSOFT = [
    Said("refresh-token-revoked", "invalid_grant", 50173, "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."),
    Said("refresh-token-revoked", "invalid_grant", 50133, "Session is invalid due to expiration or recent password change."),
    Said("refresh-token-unused", "invalid_grant", 700082, "The refresh token has expired due to inactivity. The token was issued on 2026-08-01T10:00:00.0000000Z and was inactive for 90.00:00:00."),
    Said("refresh-token-unused", "invalid_grant", 70008, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."),
    Said("refresh-token-of-single-page-app", "invalid_grant", 700084, "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which can't be extended."),
    Said("sign-in-frequency", "invalid_grant", 70043, "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."),
    Said("grant-malformed", "invalid_grant", 70000, "The provided value for the input parameter 'refresh_token' or 'assertion' is not valid."),
    Said("consent-missing", "invalid_grant", 65001, "The user or administrator has not consented to use the application with ID '1111' named 'Mail'. Send an interactive authorization request for this user and resource."),
    Said("mfa-demanded", "interaction_required", 50076, "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '00000002-0000-0ff1-ce00-000000000000'."),
    Said("mfa-demanded", "invalid_grant", 50078, "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication to access."),
    Said("mfa-not-set-up", "interaction_required", 50079, "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication."),
    Said("external-challenge", "interaction_required", 50158, "External security challenge was not satisfied."),
    Said("device-not-compliant", "interaction_required", 53000, "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant."),
    Said("blocked-by-policy", "invalid_grant", 53003, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."),
    Said("user-not-assigned", "invalid_grant", 50105, "Your administrator has configured the application Mail ('1111') to block users unless they are specifically granted ('assigned') access to the application."),
    Said("account-of-other-tenant", "invalid_grant", 50020, "User account 'x' from identity provider 'live.com' does not exist in tenant 'Contoso' and cannot access the application."),
    Said("account-unknown", "invalid_grant", 50034, "The user account does not exist in the Contoso directory. To sign into this application, the account must be added to the directory."),
    Said("account-locked", "invalid_grant", 50053, "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."),
    Said("password-expired", "invalid_grant", 50055, "The password is expired."),
    Said("account-disabled", "invalid_grant", 50057, "The user account is disabled."),
    Said("password-wrong", "invalid_grant", 50126, "Error validating credentials due to invalid username or password."),
    Said("client-secret-wrong", "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '1111'.", 401),
    Said("client-secret-expired", "invalid_client", 7000222, "The provided client secret keys for app '1111' are expired. Visit the Azure portal to create new keys for your app.", 401),
    Said("client-secret-missing", "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.", 401),
    Said("client-secret-not-wanted", "invalid_client", 700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.", 401),
    Said("client-assertion-refused", "invalid_client", 700027, "Client assertion contains an invalid signature. [Reason - The key was not found.]", 401),
    Said("client-unknown", "unauthorized_client", 700016, "Application with identifier '1111' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant."),
    Said("client-disabled", "unauthorized_client", 7000112, "Application '1111'(Mail) is disabled."),
    Said("tenant-missing", "invalid_request", 50194, "Application '1111'(Mail) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'."),
    Said("tenant-missing", "invalid_request", 9001023, "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."),
    Said("tenant-unknown", "invalid_request", 90002, "Tenant 'contosso.example' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."),
    Said("tenant-of-national-cloud", "invalid_request", 90038, "The tenant is in a national cloud. Redirect to the national cloud."),
    Said("endpoint-of-other-accounts", "invalid_request", 9002332, "Application '1111' is configured for use by Microsoft Account users only. Please use the /consumers endpoint to serve this request."),
    Said("resource-unknown", "invalid_resource", 500011, "The resource principal named https://outlok.office.com was not found in the tenant named Contoso."),
    Said("permission-missing", "invalid_client", 650057, "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration.", 401),
    Said("scope-invalid", "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid. The scope 'https://outlook.office.com/IMAP.AccessAsUser.All https://graph.microsoft.com/Mail.Read' is not valid."),
    Said("scope-invalid", "invalid_request", 28000, "Provided value for the input parameter scope is not valid because it contains more than one resource."),
    Said("parameter-missing", "invalid_request", 900144, "The request body must contain the following parameter: 'scope'."),
    Said("provider-disturbed", "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.", 503),
    Said("provider-throttles", "temporarily_unavailable", 90055, "The tenant throttling limit was exceeded.", 429),
    Said("on-premises-agent-down", "server_error", 80001, "Authentication Agent unable to connect to Active Directory.", 400),
]  # fmt: skip

GOOGLE = [
    Said("google-token-revoked", "invalid_grant", 0, "Token has been expired or revoked."),
    Said("grant-malformed", "invalid_grant", 0, "Bad Request"),
    Said(
        "google-delegation-missing",
        "unauthorized_client",
        0,
        "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
        401,
    ),
    Said("google-mailbox-unknown", "invalid_grant", 0, "Invalid email or User ID"),
    Said("google-key-deleted", "invalid_grant", 0, "Invalid JWT Signature."),
    Said("client-unknown", "invalid_client", 0, "The OAuth client was not found.", 401),
    Said("client-secret-wrong", "invalid_client", 0, "Unauthorized", 401),
    Said("client-deleted", "deleted_client", 0, "The OAuth client was deleted.", 401),
    Said("client-disabled", "disabled_client", 0, "The OAuth client was disabled.", 401),
    Said("client-not-allowed", "unauthorized_client", 0, "Unauthorized", 401),
    Said("scope-invalid", "invalid_scope", 0, "Some requested scopes were invalid."),
    Said("flow-not-supported", "unsupported_grant_type", 0, "Invalid grant_type: refresh"),
    Said("request-invalid", "invalid_request", 0, "Could not determine client ID from request."),
]

#: Error responses of the authorization endpoint, in the redirect.
SIGN_IN = [
    Said("consent-declined", "access_denied", 65004, "The user has denied access to the scope requested by the client application."),
    Said("admin-consent-needed", "access_denied", 90094, "The grant requires administrator permission."),
    Said("admin-consent-needed", "access_denied", 0, "Need admin approval: the app needs permission to access resources in your organization that only an admin can grant."),
    Said("workspace-blocks-app", "admin_policy_enforced", 0, "Error 400: admin_policy_enforced"),
    Said("workspace-blocks-app", "org_internal", 0, "This client is restricted to users within its organization."),
    Said("browser-not-allowed", "disallowed_useragent", 0, "You can't sign in from this screen because this app doesn't comply with Google's secure browsers policy."),
    Said("redirect-uri-unknown", "invalid_request", 50011, "The redirect URI 'http://x' specified in the request does not match the redirect URIs configured for the application '1111'."),
]  # fmt: skip

#: Error responses of the token endpoint to the authorization code.
EXCHANGE = [
    Said("redirect-uri-of-a-spa", "invalid_request", 9002327, "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests."),
    Said("code-used-twice", "invalid_grant", 54005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."),
    Said("pkce-differs", "invalid_grant", 501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request."),
    Said("tenant-differs", "invalid_grant", 700005, "Provided Authorization Code is intended to use against other tenant, thus rejected."),
]  # fmt: skip
