"""Query expressions of ``get_all_records_where``: parser and evaluator.

Grammar, loosest first: ``not`` takes all that follows, then ``or``, ``and``,
then comparisons of texts and fields, parentheses, ``true`` and ``false``.
Names are those of the database (two underscores); values compare by stored
text.  Source: the query traces.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row

_TOKEN = re.compile(r"""[ \t\n]+|(field|not|and|or|true|false)|"([^"]*)"|([()=])""")
_LEXING = 'Failure("lexing: empty token")'
_PARSING = "Xapi_database.Db_filter_parse.MenhirBasics.Error"
MAX_DEPTH = 200

Test = Callable[[Row], bool]
Getter = Callable[[Row], str]


class _LexError(Exception):
    """A character no token begins with."""


class _ParseError(Exception):
    """A token out of place, or nesting beyond MAX_DEPTH."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the row under test, by its database name."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """A literal."""

    value: str


@dataclass(frozen=True, slots=True)
class Equal:
    """Two values with the same text."""

    left: Field | Text
    right: Field | Text


@dataclass(frozen=True, slots=True)
class Constant:
    """``true`` or ``false``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    inner: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the parts."""

    parts: tuple["Expression", ...]


Expression = Equal | Constant | Not | And | Or


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, value); a run of letters that is no keyword is an error."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _LexError
        position = match.end()
        word, literal, sign = match.groups()
        if word is not None:
            yield word, word
        elif literal is not None:
            yield "text", literal
        elif sign is not None:
            yield sign, sign
    yield "end", ""


class _Parser:
    """Recursive descent over a token stream that lexes as it is consumed."""

    def __init__(self, text: str) -> None:
        self._stream = _tokens(text)
        self._kind, self._value = next(self._stream)
        self._depth = 0

    def _advance(self) -> str:
        value = self._value
        self._kind, self._value = next(self._stream, ("end", ""))
        return value

    def parse(self) -> Expression:
        expression = self._any()
        if self._kind != "end":
            raise _ParseError
        return expression

    def _any(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _ParseError
        parts = [self._all()]
        while self._kind == "or":
            self._advance()
            parts.append(self._all())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Expression:
        parts = [self._unit()]
        while self._kind == "and":
            self._advance()
            parts.append(self._unit())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _unit(self) -> Expression:
        if self._kind == "not":
            self._advance()
            return Not(self._any())
        if self._kind in ("true", "false"):
            return Constant(self._advance() == "true")
        if self._kind == "(":
            self._advance()
            inner = self._any()
            if self._kind != ")":
                raise _ParseError
            self._advance()
            return inner
        left = self._value_term()
        if self._kind != "=":
            raise _ParseError
        self._advance()
        return Equal(left, self._value_term())

    def _value_term(self) -> Field | Text:
        if self._kind == "field":
            self._advance()
            if self._kind != "text":
                raise _ParseError
            return Field(self._advance())
        if self._kind == "text":
            return Text(self._advance())
        raise _ParseError


def parse(text: str) -> Expression:
    """Read an expression.  Errors: INVALID_VALUE [text, reason] on bad syntax."""
    try:
        return _Parser(text).parse()
    except _LexError:
        raise err.INVALID_VALUE(text, _LEXING) from None
    except _ParseError:
        raise err.INVALID_VALUE(text, _PARSING) from None


def quoted(value: str) -> str:
    """Quote a text the way the database stores members of sets and maps."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def stored_text(value: object) -> str:
    """Give the text a value is stored and compared as: ``('t0' 'all')``, ``true``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return format(value, ".15g")
    if value is None:
        return "()"
    if isinstance(value, Mapping):
        pairs = (f"({quoted(stored_text(k))} {quoted(stored_text(v))})" for k, v in value.items())
        return f"({' '.join(pairs)})"
    if hasattr(value, "__iter__"):
        return f"({' '.join(quoted(stored_text(v)) for v in value)})"
    return str(value)


def _missing(name: str) -> ApiError:
    # The declared arity is one; servers send the lookup that failed.
    return ApiError(err.INTERNAL_ERROR.code, "missing field", name, "")


def _getter(term: Field | Text, fields: Mapping[str, Getter]) -> Getter:
    if isinstance(term, Text):
        literal = term.value
        return lambda row: literal
    try:
        return fields[term.name]
    except KeyError:
        raise _missing(term.name) from None


def compile_test(expression: Expression, fields: Mapping[str, Getter]) -> Test:
    """Make a test of rows from an expression.

    ``fields`` maps database names to functions giving a row's stored text (see
    ``stored_text``).  Errors: INTERNAL_ERROR [missing field, name, ""] for an
    unknown name, also where no row would be tested.
    """
    if isinstance(expression, Constant):
        value = expression.value
        return lambda row: value
    if isinstance(expression, Not):
        inner = compile_test(expression.inner, fields)
        return lambda row: not inner(row)
    if isinstance(expression, And):
        parts = tuple(compile_test(part, fields) for part in expression.parts)
        return lambda row: all(part(row) for part in parts)
    if isinstance(expression, Or):
        choices = tuple(compile_test(part, fields) for part in expression.parts)
        return lambda row: any(choice(row) for choice in choices)
    left, right = _getter(expression.left, fields), _getter(expression.right, fields)
    return lambda row: left(row) == right(row)


def unique_key(expression: Expression) -> tuple[str, str] | None:
    """Give (field, value) when only rows with that uuid, ref or name can match.

    Lets a caller look rows up by index before testing them.
    """
    if isinstance(expression, Equal):
        pairs = ((expression.left, expression.right), (expression.right, expression.left))
        for name, value in pairs:
            if (
                isinstance(name, Field)
                and isinstance(value, Text)
                and name.name in ("uuid", "_ref", "name__label")
            ):
                return name.name, value.value
    elif isinstance(expression, And):
        for part in expression.parts:
            key = unique_key(part)
            if key is not None:
                return key
    return None
