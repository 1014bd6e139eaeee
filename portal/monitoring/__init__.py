"""What is wrong with the portal and who is notified: detection, notices, dashboard, health, metrics."""
