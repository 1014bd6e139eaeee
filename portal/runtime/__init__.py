"""How the processes of the portal start and stop: upgrade, supervisor, embedded Redis."""
