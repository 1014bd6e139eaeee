"""Outgoing mail: outbound profiles, submission, the mail queue, sending, bounces, the SMTP listener."""
