"""What the user asked of the client itself: options, ``~/.xe`` and the environment.

Everything else on the command line is the server's business and is passed on.
Priority: command line, ``XE_EXTRA_ARGS``, ``~/.xe``, built-in defaults.
Source: brief CLI-PROTOCOL 2.1 and 2.2.
"""

DEFAULT_SERVER = "127.0.0.1"

_VALUE_OPTIONS = {
    "-s": "server",
    "-h": "server",
    "-p": "port",
    "-u": "username",
    "-pw": "password",
    "-pwf": "passwordfile",
    "--traceparent": "traceparent",
    "--ciphersuites": "ciphersuites",
    "--ca-file": "cafile",
}
_SWITCHES = {
    "--nossl": "nossl",
    "--debug": "debug",
    "--debug-on-fail": "debugonfail",
    "--allow-ssl-legacy": "allowssllegacy",
    "--verify-certificate": "verifycertificate",
}
_KEYS = {*_VALUE_OPTIONS.values(), *_SWITCHES.values(), "allow-ssl-legacy"}
_HELP = ("-help", "--help")
_VERSION = ("-version", "--version")


class UsageError(Exception):
    """The options cannot be understood; the text says why."""


class Settings:
    """How to reach the server, and the command to send."""

    __slots__ = ("values", "words", "user_typed", "warnings", "show")

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.words: list[str] = []
        self.user_typed: list[str] = []
        """The words of the command line, which name the files a server may ask for."""
        self.warnings: list[str] = []
        self.show = ""
        """"usage", "version" or "completion" when there is nothing to send."""

    def get(self, name: str, default: str = "") -> str:
        """Give an option's value."""
        return self.values.get(name, default)

    def is_on(self, name: str) -> bool:
        """Whether a switch is set."""
        return self.values.get(name, "") in ("true", "1", "yes")

    @property
    def server(self) -> str:
        """The server's name or address, without the brackets of IPv6."""
        name = self.get("server", DEFAULT_SERVER)
        return name[1:-1] if name.startswith("[") and name.endswith("]") else name

    @property
    def is_local(self) -> bool:
        """Whether the server is the default one on this machine."""
        return self.get("server", DEFAULT_SERVER) == DEFAULT_SERVER

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return not self.is_on("nossl") and not self.is_local

    @property
    def port(self) -> int:
        """The port; 0 means the one that goes with ``tls``.  Errors: UsageError."""
        text = self.get("port")
        if not text:
            return 0
        if not text.isdecimal() or int(text) > 65535:
            raise UsageError(f"{text} is not a port: give a number from 0 to 65535")
        return int(text)

    def body(self) -> str:
        """Give the text to send: the command with its arguments, one a line."""
        user, password = self.get("username", "root"), self.get("password", "null")
        return "\n".join([*self.words, f"username={user}", f"password={password}"])


def gather(arguments: list[str], extra: str, file_text: str | None) -> Settings:
    """Put together the command line, ``XE_EXTRA_ARGS`` and the text of ``~/.xe``.

    Errors: UsageError for an option without its value.
    """
    settings = Settings()
    settings.user_typed = list(arguments)
    if not arguments:
        settings.show = "usage"
        return settings
    _take(settings, arguments, command_line=True)
    if settings.show:
        return settings
    _take(settings, split_extra(extra))
    lines = _file_lines(settings, file_text)
    # of a repeated option in the file the last one wins
    options = dict(line.split("=", 1) for line in lines)
    _take(settings, [f"{k}={v}" for k, v in options.items() if k in _KEYS])
    settings.words += [line for line in lines if line.split("=", 1)[0] not in _KEYS]
    return settings


def _file_lines(settings: Settings, text: str | None) -> list[str]:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    if any("=" not in line for line in lines):
        settings.warnings.append("~/.xe has a line without '=': the file is not used")
        return []
    return lines


def split_extra(text: str) -> list[str]:
    r"""Split ``XE_EXTRA_ARGS`` at commas; ``\,`` is a comma in a value."""
    words, word, escaped = [], "", False
    for letter in text:
        if letter == "\\" and not escaped:
            escaped = True
            continue
        if letter == "," and not escaped:
            words.append(word)
            word = ""
        else:
            word += letter
        escaped = False
    words.append(word)
    return [w for w in words if w]


def _take(settings: Settings, arguments: list[str], *, command_line: bool = False) -> None:
    """Consume the client's options; the first value of each counts."""
    left = list(arguments)
    while left:
        word = left.pop(0)
        key, equals, value = word.partition("=")
        if word in _HELP or word in _VERSION:
            settings.show = "usage" if word in _HELP else "version"
            return
        if word in _VALUE_OPTIONS:
            if not left:
                raise UsageError(f"{word} needs a value")
            settings.values.setdefault(_VALUE_OPTIONS[word], left.pop(0))
        elif word in _SWITCHES:
            settings.values.setdefault(_SWITCHES[word], "true")
        elif equals and key in _KEYS:
            settings.values.setdefault(key.replace("-", ""), value)
        elif word == "--output" and left and command_line:
            settings.words.append(f"--output={left.pop(0)}")
        elif word == "--completion":
            settings.show = "completion"
        else:
            settings.words.append(word)


def read_password_file(text: str) -> tuple[str, str]:
    """Give user and password: the first two lines.  Errors: UsageError."""
    lines = text.splitlines()
    if len(lines) < 2:
        raise UsageError("the password file needs the user on line 1 and the password on line 2")
    return lines[0], lines[1]
