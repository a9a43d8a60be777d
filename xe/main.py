"""The program ``xe``: reads settings, runs one command, gives the exit status."""

import os
import sys

from xe.failures import ClientError
from xe.settings import Settings, UsageError, gather, read_password_file
from xe.usage import USAGE, VERSION


def main(arguments: list[str] | None = None) -> None:
    """Run the command line of this process and exit."""
    words = sys.argv[1:] if arguments is None else arguments
    status = 1
    try:
        status = _run(words)
    except UsageError as error:
        sys.stderr.write(f"{error}\n{USAGE}")
    except BrokenPipeError:
        _drop_output()
    except (ClientError, OSError) as error:
        if not isinstance(error, ClientError):
            _drop_output()
        _complain(words, str(error))
    except KeyboardInterrupt:
        _complain(words, "Interrupted")
        status = 130
    sys.exit(status)


def _drop_output() -> None:
    """Give up what standard output still holds: nobody takes it, and exiting would try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(words: list[str], text: str) -> None:
    """Say on standard error what went wrong, in the form asked for with ``--output``."""
    form = ""
    for number, word in enumerate(words):
        if word == "--output":
            form = "".join(words[number + 1 : number + 2])
        elif word.startswith("--output="):
            form = word.removeprefix("--output=")
    if form in ("json", "yaml"):  # flow style: json is yaml
        from json import dumps  # noqa: PLC0415

        whole = {"error": "CLIENT_FAILURE", "message": text, "parameters": {}}
        text = dumps(whole, indent=2, ensure_ascii=False)
    elif form == "csv":
        quoted = text.replace('"', '""')
        text = f'error,message\nCLIENT_FAILURE,"{quoted}"'
    sys.stderr.write(f"{text}\n")


def _run(words: list[str]) -> int:
    settings = gather(words, os.environ.get("XE_EXTRA_ARGS", ""), _file_text())
    for warning in settings.warnings:
        sys.stderr.write(f"{warning}\n")
    match settings.show:
        case "usage":
            sys.stderr.write(USAGE)
            return 0
        case "version":
            print(VERSION)
            return 0
        case "completion":
            with open(os.path.join(os.path.dirname(__file__), "completion.bash")) as file:
                sys.stdout.write(file.read())
            return 0
    if not settings.words:
        sys.stderr.write(USAGE)
        return 0
    _find_password(settings)
    settings.port  # noqa: B018  (says what is wrong with it before anything is sent)
    return _send(settings)


def _send(settings: Settings) -> int:
    # imported here: what only prints need not load sockets
    from xe.connection import Dialler  # noqa: PLC0415
    from xe.session import Session  # noqa: PLC0415

    kept: list[str] = []

    def trace(text: str) -> None:
        if settings.is_on("debug"):
            sys.stderr.write(f"{text}\n")
        elif settings.is_on("debugonfail"):
            kept.append(text)

    try:
        status = Session(settings, Dialler(settings), trace).run()
    except (ClientError, OSError):
        sys.stderr.writelines(f"{line}\n" for line in kept)
        raise
    if status != 0:
        sys.stderr.writelines(f"{line}\n" for line in kept)
    return status


def _file_text() -> str | None:
    try:
        path = os.path.join(os.environ["HOME"], ".xe")
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
            if "password=" in text:
                _warn_of_readers("~/.xe", os.fstat(file.fileno()).st_mode)
            return text
    except (OSError, KeyError):
        return None


def _find_password(settings: Settings) -> None:
    filename = settings.get("passwordfile")
    if filename:
        try:
            with open(filename, encoding="utf-8", errors="surrogateescape") as file:
                _warn_of_readers(filename, os.fstat(file.fileno()).st_mode)
                user, password = read_password_file(file.read())
        except OSError as error:
            raise UsageError(f"cannot read {filename}: {error.strerror}") from error
        settings.values.setdefault("username", user)
        settings.values.setdefault("password", password)
    typed = "username" in settings.values and "password" not in settings.values
    if typed and sys.stdin.isatty() and sys.stderr.isatty():
        from getpass import getpass  # noqa: PLC0415

        settings.values["password"] = getpass("Password: ", sys.stderr)


def _warn_of_readers(filename: str, mode: int) -> None:
    """Tell a person at a terminal that others of this machine can read a password."""
    if mode & 0o044 and sys.stderr.isatty():
        sys.stderr.write(f"Warning: other users can read {filename}; chmod 600 stops that\n")


if __name__ == "__main__":
    main()
