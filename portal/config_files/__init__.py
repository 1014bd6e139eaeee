"""Configuration files: the portal's rows as YAML or JSON, which are compared with the database and applied to it."""
