"""What the user is told when a command fails.  Source: brief CLI-PROTOCOL 4.3."""

from collections.abc import Iterable, Sequence
from typing import Any

from ocaml_compat.thin_cli import Failure
from xapi_py.base.errors import ApiError
from xapi_py.cli._generated.error_texts import ERROR_TEXTS
from xapi_py.cli.context import Context
from xapi_py.cli.forms import FORMS, error_text
from xapi_py.cli.problems import (
    CliError,
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
    code, lines = _said(problem, tables, words)
    form = words.output if words is not None else ""
    if form in FORMS:
        text = "\n".join(line for line in lines if line and line != USAGE)
        client.say_error(error_text(form, code, text.removeprefix("Error: "), {}))
    elif isinstance(problem, UnknownField):
        _lines(client, *lines[1:])
        client.send(Failure("Missing parameter", (str(problem),)))
    else:
        _lines(client, *lines)


def _said(problem: CliError, tables: Tables, words: Words | None) -> tuple[str, list[str]]:
    """Give a code for programs, and the lines for people."""
    match problem:
        case UnknownCommand():
            name = str(problem)
            hint = _meant(name, tables.commands)
            return "UNKNOWN_COMMAND", [f"Unknown command: {name}", USAGE, hint]
        case WrongSyntax():
            return "SYNTAX_ERROR", [f"Syntax error: {problem}", USAGE]
        case MissingParameter():
            spec = tables.commands.get(words.command) if words else None
            known = {*spec.required, *spec.optional} if spec else set()
            given = [key for key, _ in words.pairs if key not in known] if words else []
            typo = closest(str(problem), given, 0.7)
            hint = f"Did you mean '{problem}' where you wrote '{typo}'?" if typo else ""
            return "MISSING_PARAMETER", [f"Required parameter not found: {problem}", USAGE, hint]
        case LoginFailed():
            return "SESSION_AUTHENTICATION_FAILED", [str(problem), USAGE]
        case UnknownField():
            likely = problem.likely
            hint = f"Unknown parameter '{problem}' (did you mean '{likely}'?)" if likely else ""
            return "UNKNOWN_FIELD", [f"Unknown field '{problem}'", hint]
        case _:
            return "COMMAND_FAILED", [f"Error: {problem}"]


def _meant(word: str, known: Iterable[str]) -> str:
    likely = closest(word, known)
    return f"Did you mean '{likely}'?" if likely else ""


def _lines(client: Any, *lines: str) -> None:
    for line in lines:
        if line:
            client.say_error(f"{line}\n")


def explain_api(client: Any, error: ApiError, context: Context | None, form: str = "") -> None:
    """Tell the client of an error of the API."""
    known = getattr(error_codes, error.code, None)
    names = getattr(known, "params", None)
    params = [_named(context, p) for p in error.params]
    text = ERROR_TEXTS.get(error.code) or _in_words(error.code)
    labelled = _labelled(names or (), params)
    if form in FORMS:
        client.say_error(error_text(form, error.code, text, dict(labelled)))
    elif names is None:
        client.send(Failure(error.code, tuple(params)))
    else:
        _lines(client, text, *(f"{name}: {value}" for name, value in labelled))


def _labelled(names: Sequence[str], params: list[str]) -> list[tuple[str, str]]:
    count = max(len(names), len(params))
    return [
        (
            names[number] if number < len(names) else "<extra>",
            params[number] if number < len(params) else "<unknown>",
        )
        for number in range(count)
    ]


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
