"""How a command can fail.  Source: brief CLI-PROTOCOL 4.3."""


class CliError(Exception):
    """Base of what ends a command; always with status 1 unless said otherwise."""


class CommandFailed(CliError):
    """The command cannot do what was asked; the text follows ``Error: ``."""


class WrongSyntax(CliError):
    """The line cannot be read; the text follows ``Syntax error: ``."""


class UnknownCommand(CliError):
    """There is no such command; the text is its name."""


class MissingParameter(CliError):
    """A required parameter is not there; the text is its name."""


class UnknownField(CliError):
    """The class has no such field (param-get and the like); the text is its name."""

    def __init__(self, name: str, likely: str = "") -> None:
        super().__init__(name)
        self.likely = likely


class LoginFailed(CliError):
    """The server refuses the user; the text says why."""


class ExitWith(CliError):
    """End at once with ``code``; what there was to say has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ClientGone(Exception):
    """The client closed the connection; nobody can be told anything."""
