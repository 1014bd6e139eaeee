"""The web application: pages, forms, HTTP API, permissions, the web server."""
