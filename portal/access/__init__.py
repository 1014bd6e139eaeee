"""Users and API keys: authentication, rate limit, usage counts, access tokens for programs."""
