"""The words of a command line as the server sees them.  Source: brief CLI-PROTOCOL 4.1."""

from dataclasses import dataclass

from xapi_py.cli.problems import CommandFailed, MissingParameter, WrongSyntax

STANDARD = frozenset(
    {
        *("server", "password", "port", "username", "minimal", "force", "multiple", "all"),
        *("message-priority", "trace"),
    }
)
"""Parameters that mean the same in every command and are never filters."""

_WITH_VALUE = {"-u": "username", "-pw": "password", "-s": "server", "-h": "server", "-p": "port"}
_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})

OUTPUT_MARK = "output="
"""How the key of ``--output=FORM`` begins; ``output=x`` is another parameter, of key output."""

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """One command: its name and its parameters in order; lookups take the first."""

    command: str
    pairs: Pairs
    session: str = ""

    def get(self, name: str, default: str = "") -> str:
        """Give a parameter's text."""
        for key, value in self.pairs:
            if key == name:
                return value
        return default

    def has(self, name: str) -> bool:
        """Whether a parameter is given."""
        return any(key == name for key, _ in self.pairs)

    def need(self, name: str) -> str:
        """Give a parameter's text.  Errors: MissingParameter."""
        for key, value in self.pairs:
            if key == name:
                return value
        raise MissingParameter(name)

    def flag(self, name: str, default: bool = False) -> bool:
        """Read a switch.  Errors: CommandFailed when it is neither true nor false."""
        return parse_bool(name, self.get(name)) if self.has(name) else default

    def members(self, name: str) -> dict[str, str]:
        """Give NAME:KEY=VALUE parameters, NAME-KEY=VALUE as well, as a map.

        Where both forms fit, the one with the colon counts.
        """
        found: dict[str, str] = {}
        for mark in ("-", ":"):
            start = name.rstrip("-") + mark
            for key, value in self.pairs:
                if key.startswith(start) and len(key) > len(start):
                    found[key[len(start) :]] = value
        return found

    def list_of(self, name: str) -> list[str]:
        """Give the parts of a comma separated parameter."""
        return [part.strip() for part in self.get(name).split(",") if part.strip()]

    @property
    def output(self) -> str:
        """What was asked for with --output, "" for the classic form."""
        for key, _ in self.pairs:
            if key.startswith(OUTPUT_MARK):
                return key.removeprefix(OUTPUT_MARK)
        return ""


def parse(body: str) -> Words:
    """Read the body of a request.  Errors: WrongSyntax."""
    lines = [line.removesuffix("\r") for line in body.split("\n")]
    session = ""
    if lines and lines[0].startswith("session_id="):
        session = lines.pop(0).removeprefix("session_id=")
    if not lines or "=" in lines[0] or not lines[0]:
        raise WrongSyntax("")
    pairs: Pairs = []
    rest = iter(lines[1:])
    for word in rest:
        if word == "--output":  # of clients that know it not, in two words
            pairs.append((OUTPUT_MARK + next(rest, ""), "true"))
        elif word.startswith("--"):
            pairs.append((word[2:], "true"))
        elif word.startswith("-"):
            if word not in _WITH_VALUE:
                raise WrongSyntax("")
            pairs.append((_WITH_VALUE[word], next(rest, "")))
        else:
            key, _, value = word.partition("=")
            pairs.append((key, value))
    return Words(lines[0], pairs, session)


def parse_bool(name: str, text: str) -> bool:
    """Read a truth value.  Errors: CommandFailed."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise CommandFailed(
        f"Failed to parse parameter '{name}': expecting a boolean (true or false), got '{text}'"
    )
