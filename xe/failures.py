"""Failures of the client that end it with status 1."""


class ClientError(Exception):
    """The text is for the user, on standard error."""
