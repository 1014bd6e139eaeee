"""Web services: HTTP requests that carry a token, and their calls."""
