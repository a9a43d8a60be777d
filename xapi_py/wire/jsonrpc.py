"""The JSON-RPC dialects, versions 1 and 2, and the form 7.1 answers in."""

import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final, NoReturn

import orjson

from xapi_py.base.errors import ApiError
from xapi_py.datamodel.model import ClassDef, Model, Type
from xapi_py.wire import json_text
from xapi_py.wire.dialect import Dialect, RequestId
from xapi_py.wire.errors import WireError
from xapi_py.wire.raw import Raw, RawCall
from xapi_py.wire.scalars import INT64_MAX, INT64_MIN

_LEADING_COMMENTS = re.compile(rb"(?:\s+|//[^\n]*\n|/\*.*?\*/)*", re.DOTALL)
_SURROGATES = re.compile("[\ud800-\udfff]")
MAX_DEPTH = 200


class JsonRpc(Dialect):
    """What the JSON-RPC dialects share: requests and values."""

    content_type: ClassVar[str] = "application/json"
    struct_ends = (b"{", b"}")
    array_ends = (b"[", b"]")
    separator = b","
    style: json_text.JsonText = json_text.NEWEST

    def parse_request(self, body: bytes) -> RawCall:
        return parse(body)[1]

    def encode(self, value: Any, type_: Type, model: Model | None = None) -> bytes:
        return self.style.encode(value, type_, model)

    def text(self, text: str) -> bytes:
        return self.style.text(text)

    def count(self, number: int) -> bytes:
        return str(number).encode()

    def members(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        return self.style.members(members)

    def encode_record(self, row: Any, class_def: ClassDef, model: Model | None) -> bytes:
        return self.style.encode_record(row, class_def, model)


class JsonRpc1(JsonRpc):
    """Version 1: ``result``, ``error`` and ``id`` are all there."""

    name: ClassVar[str] = "jsonrpc1"

    def success(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        return [b'{"result":', *chunks, b',"error":null,"id":' + _id(id_) + b"}"]

    def failure(self, error: ApiError, id_: RequestId = 0) -> bytes:
        description = self.style.dumps(error.description)
        return b'{"result":null,"error":' + description + b',"id":' + _id(id_) + b"}"


class JsonRpc2(JsonRpc):
    """Version 2: either ``result`` or ``error``."""

    name: ClassVar[str] = "jsonrpc2"

    def success(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        return [b'{"jsonrpc":"2.0","result":', *chunks, b',"id":' + _id(id_) + b"}"]

    def failure(self, error: ApiError, id_: RequestId = 0) -> bytes:
        problem = {"code": 1, "message": error.code, "data": list(error.params)}
        text = self.style.dumps(problem)
        return b'{"jsonrpc":"2.0","error":' + text + b',"id":' + _id(id_) + b"}"

    def unreadable(self, error: ApiError) -> bytes:
        # the error is an array here, as the real server has it
        return b'{"jsonrpc":"2.0","error":' + self.style.dumps(error.description) + b',"id":0}'


class JsonRpcEly(JsonRpc1):
    """What 7.1 answers to both versions: version 1 with the id 0."""

    name: ClassVar[str] = "jsonrpc-7.1"
    style = json_text.ELY

    def success(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        return super().success(chunks, 0)

    def failure(self, error: ApiError, id_: RequestId = 0) -> bytes:
        return super().failure(error, 0)


JSONRPC1: Final = JsonRpc1()
JSONRPC2: Final = JsonRpc2()
JSONRPC_ELY: Final = JsonRpcEly()


def parse(body: bytes) -> tuple[Dialect, RawCall]:
    """Read a request and tell the version it asks for.

    Errors: WireError.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        request = _parse_leniently(body)
    if type(request) is not dict:
        raise WireError("JSON-RPC: the request is no object")
    dialect: Dialect = JSONRPC1
    if "jsonrpc" in request:
        if request["jsonrpc"] != "2.0":
            raise WireError("JSON-RPC: unknown version")
        dialect = JSONRPC2
    method = request.get("method")
    if type(method) is not str:
        raise WireError("JSON-RPC: no method")
    id_ = request.get("id")
    if type(id_) is int:
        if not INT64_MIN <= id_ <= INT64_MAX:
            raise WireError("JSON-RPC: id beyond 64 bits")
    elif type(id_) is not str:
        raise WireError("JSON-RPC: id must be an integer or a string")
    return dialect, RawCall(method, _params(request.get("params")), id_)


def _params(params: Raw) -> list[Raw]:
    if params is None:
        return []
    if type(params) is dict:
        return [params]
    if type(params) is not list:
        raise WireError("JSON-RPC: params must be an array or an object")
    for param in params:
        if type(param) is int and not INT64_MIN <= param <= INT64_MAX:
            raise WireError("JSON-RPC: integer beyond 64 bits")
    return params


def _parse_leniently(body: bytes) -> Raw:
    """Read what orjson refuses and the real server accepts.

    That is: NaN and Infinity, numbers too large for a float, control
    characters in strings, and comments before the document.
    """
    start = _LEADING_COMMENTS.match(body)
    rest = body[start.end() if start else 0 :]
    try:
        text = rest.decode()
    except UnicodeDecodeError as error:
        _refuse_bad_utf8(rest, error)
    found = _loads(text)
    if "\\u" in text.lower() and _SURROGATES.search(json.dumps(found, ensure_ascii=False)):
        raise WireError("JSON: half of a surrogate pair")
    return found


def _refuse_bad_utf8(body: bytes, error: UnicodeDecodeError) -> NoReturn:
    request = _loads(body.decode("latin-1"))
    if type(request) is not dict:
        raise WireError("JSON: not UTF-8") from error
    failure = ApiError("INVALID_VALUE", "a parameter is not valid UTF-8", "")
    raise WireError("JSON: not UTF-8", error=failure) from error


def _loads(text: str) -> Raw:
    try:
        found = json.loads(text, strict=False)
        json.dumps(found)
    except (ValueError, RecursionError) as error:
        raise WireError(f"JSON: {str(error)[:200]}") from error
    return found


def _id(id_: RequestId) -> bytes:
    return b"%d" % id_ if type(id_) is int else orjson.dumps(id_)


def parse_ely(body: bytes) -> tuple[Dialect, RawCall]:
    """Read a request as 7.1 does: the id an integer, the answer version 1."""
    _, call = parse(body)
    if type(call.id) is not int:
        raise WireError("JSON-RPC: id must be an integer")
    return JSONRPC_ELY, call
