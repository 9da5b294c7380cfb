"""Tickets on their way to people: to files and webhooks, at least once."""
