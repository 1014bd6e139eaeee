"""Token configurations and their tokens: refresh, access tokens, revocation, import and export."""
