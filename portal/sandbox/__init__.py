"""A local provider and local mail servers to try out the portal. Imported only by `run --sandbox`."""
