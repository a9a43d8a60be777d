"""The command line client: connects, sends the command, does what the server asks."""

__all__: list[str] = []
