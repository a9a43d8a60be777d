"""The XML-RPC dialects."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from xapi_py.base.errors import ApiError
from xapi_py.datamodel.model import ClassDef, Model, Type
from xapi_py.wire import json_text, xml_request, xml_text
from xapi_py.wire.dialect import Dialect, RequestId
from xapi_py.wire.raw import RawCall

_OPEN: Final = b'<?xml version="1.0"?><methodResponse><params><param>'
_CLOSE: Final = b"</param></params></methodResponse>"
_SUCCESS_OPEN: Final = (
    _OPEN + b"<value><struct><member><name>Status</name><value>Success</value></member>"
    b"<member><name>Value</name>"
)
_SUCCESS_CLOSE: Final = b"</member></struct></value>" + _CLOSE
_FAILURE_OPEN: Final = (
    _OPEN + b"<value><struct><member><name>Status</name><value>Failure</value></member>"
    b"<member><name>ErrorDescription</name>"
)


class XmlRpc(Dialect):
    """XML-RPC with the Status envelope."""

    name: ClassVar[str] = "xmlrpc"
    content_type: ClassVar[str] = "text/xml"
    struct_ends = (b"<value><struct>", b"</struct></value>")
    array_ends = (b"<value><array><data>", b"</data></array></value>")

    def parse_request(self, body: bytes) -> RawCall:
        return xml_request.parse(body)

    def encode(self, value: Any, type_: Type, model: Model | None = None) -> bytes:
        return xml_text.encoder(type_, model)(value).encode()

    def text(self, text: str) -> bytes:
        return xml_text.text_value(text).encode()

    def count(self, number: int) -> bytes:
        return xml_text.typed_int_value(number).encode()

    def members(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        escape = xml_text.escape
        pieces: list[bytes] = []
        for name, fragment in members:  # long fragments are copied once only
            pieces += (f"<member><name>{escape(name)}</name>".encode(), fragment, b"</member>")
        return b"".join(pieces)

    def encode_record(self, row: Any, class_def: ClassDef, model: Model | None) -> bytes:
        return xml_text.row_encoder(class_def, model)(row).encode()

    def success(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        return [_SUCCESS_OPEN, *chunks, _SUCCESS_CLOSE]

    def bare(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        return [_OPEN, *chunks, _CLOSE]

    def failure(self, error: ApiError, id_: RequestId = 0) -> bytes:
        description = xml_text.text_set_value(error.description).encode()
        return _FAILURE_OPEN + description + _SUCCESS_CLOSE


class XmlRpcWithJsonValue(XmlRpc):
    """``POST /json`` of 7.1: XML-RPC whose ``Value`` is one string of JSON."""

    name: ClassVar[str] = "xmlrpc-json"
    struct_ends = (b"{", b"}")
    array_ends = (b"[", b"]")
    separator = b","

    def encode(self, value: Any, type_: Type, model: Model | None = None) -> bytes:
        return json_text.ELY.encode(value, type_, model)

    def text(self, text: str) -> bytes:
        return json_text.ELY.text(text)

    def count(self, number: int) -> bytes:
        return str(number).encode()

    def members(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        return json_text.ELY.members(members)

    def encode_record(self, row: Any, class_def: ClassDef, model: Model | None) -> bytes:
        return json_text.ELY.encode_record(row, class_def, model)

    def success(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        value = xml_text.text_value(b"".join(chunks).decode()).encode()
        return [_SUCCESS_OPEN, value, _SUCCESS_CLOSE]

    def bare(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        return [_OPEN, xml_text.text_value(b"".join(chunks).decode()).encode(), _CLOSE]


XMLRPC: Final = XmlRpc()
XMLRPC_JSON_VALUE: Final = XmlRpcWithJsonValue(cache_limit_bytes=0)


def xml_value_text(value: Any, type_: Type, model: Model | None = None) -> str:
    """Give the text of ``task.result`` for a result of a declared type.

    A void result gives ``<value></value>``.
    """
    return xml_text.encoder(type_, model)(value)
