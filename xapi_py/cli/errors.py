"""What the user is told when a command fails.  Source: brief CLI-PROTOCOL 4.3."""

from collections.abc import Iterable
from typing import Any

from ocaml_compat.thin_cli import Failure
from xapi_py.base.errors import ApiError
from xapi_py.cli._generated.error_texts import ERROR_TEXTS
from xapi_py.cli.context import Context
from xapi_py.cli.problems import (
    CliError,
    CommandFailed,
    LoginFailed,
    MissingParameter,
    UnknownCommand,
    UnknownField,
    WrongSyntax,
)
from xapi_py.cli.suggestions import closest
from xapi_py.cli.table import Tables
from xapi_py.cli.words import Words
from xapi_py.datamodel import errors as error_codes

USAGE = "For usage run: 'xe help'"


def explain(client: Any, problem: CliError, tables: Tables, words: Words | None) -> None:
    """Tell the client what is wrong with a command."""
    match problem:
        case UnknownCommand():
            name = str(problem)
            _lines(client, f"Unknown command: {name}", USAGE, _meant(name, tables.commands))
        case WrongSyntax():
            _lines(client, f"Syntax error: {problem}", USAGE)
        case MissingParameter():
            given = [key for key, _ in words.pairs if key != str(problem)] if words else []
            typo = closest(str(problem), given, 0.7)
            hint = f"Did you mean '{problem}' where you wrote '{typo}'?" if typo else ""
            _lines(client, f"Required parameter not found: {problem}", USAGE, hint)
        case LoginFailed():
            _lines(client, str(problem), USAGE)
        case UnknownField():
            client.send(Failure("Missing parameter", (str(problem),)))
        case CommandFailed():
            _lines(client, f"Error: {problem}")


def _meant(word: str, known: Iterable[str]) -> str:
    likely = closest(word, known)
    return f"Did you mean '{likely}'?" if likely else ""


def _lines(client: Any, *lines: str) -> None:
    for line in lines:
        if line:
            client.say_error(f"{line}\n")


def explain_api(client: Any, error: ApiError, context: Context | None) -> None:
    """Tell the client of an error of the API."""
    known = getattr(error_codes, error.code, None)
    names = getattr(known, "params", None)
    params = [_named(context, p) for p in error.params]
    if names is None:
        client.send(Failure(error.code, tuple(params)))
        return
    lines = [ERROR_TEXTS.get(error.code) or _in_words(error.code)]
    for number in range(max(len(names), len(params))):
        name = names[number] if number < len(names) else "<extra>"
        value = params[number] if number < len(params) else "<unknown>"
        lines.append(f"{name}: {value}")
    _lines(client, *lines)


def _in_words(code: str) -> str:
    return f"{code.replace('_', ' ').capitalize()}."


def _named(context: Context | None, value: str) -> str:
    """Give the uuid and the name of the object a value refers to."""
    if context is None or not value.startswith("OpaqueRef:"):
        return value
    for cls, class_def in context.model.classes.items():
        if not class_def.in_db:
            continue
        try:
            uuid = context.api.read(f"{cls}.get_uuid", value)
            if "name_label" not in class_def.fields:
                return str(uuid)
            name = context.api.read(f"{cls}.get_name_label", value)
            return f"{uuid} ({name})" if name else str(uuid)
        except ApiError:
            continue
    return value
