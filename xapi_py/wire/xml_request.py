"""Read XML-RPC requests: a fast path for plain calls, expat for the rest.

The grammar is applied while the document streams through, so that there is
no tree, no recursion and nothing that outlives the request.  Entities other
than the five of XML itself are refused without being expanded, nothing is
fetched, and what follows the closed root element is ignored.  Source: traces
"types" and "text".
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from xml.parsers import expat

from xapi_py.wire.errors import WireError
from xapi_py.wire.raw import Raw, RawBase64, RawCall, RawDate
from xapi_py.wire.scalars import parse_float, parse_int

MAX_DEPTH = 64
"""Deeper nesting of elements is refused; real calls stay below 20."""

_PLAIN = rb"[ -%'-;=?-~]"
_HEAD = re.compile(
    rb"(?:<\?xml version=(?:\"1\.0\"|'1\.0')(?: encoding=[\"'](?i:utf-8)[\"'])? ?\?>)?\s*"
    rb"<methodCall>\s*<methodName>([\w.]+)</methodName>\s*<params>\s*"
)
_PARAM = re.compile(
    rb"<param>\s*<value>(?:\s*<string>(" + _PLAIN + rb"*)</string>\s*|(" + _PLAIN + rb"*)"
    rb"|\s*<(?:int|i4|i8)>(-?[0-9]{1,18})</(?:int|i4|i8)>\s*|\s*<boolean>([01])</boolean>\s*)"
    rb"</value>\s*</param>\s*"
)
_TAIL = re.compile(rb"</params>\s*</methodCall>\s*")


def parse(body: bytes) -> RawCall:
    """Read one call.

    Errors: WireError (HTTP 500) for anything that is no XML-RPC call, for
    text that is not valid, and for numbers that are none.
    """
    return _parse_plain(body) or _StreamingParser().parse(body)


def _parse_plain(body: bytes) -> RawCall | None:
    """Read a call whose parameters are plain ASCII scalars, else give None."""
    head = _HEAD.match(body)
    if head is None:
        return None
    params: list[Raw] = []
    at = head.end()
    match_param = _PARAM.match
    while (found := match_param(body, at)) is not None:
        text = found[found.lastindex or 2]
        kind = found.lastindex
        if kind == 3:
            if not _same_number_tags(found[0]):
                return None
            params.append(int(text))
        elif kind == 4:
            params.append(text == b"1")
        else:
            params.append(text.decode("ascii"))
        at = found.end()
    return RawCall(head[1].decode("ascii"), params) if _TAIL.fullmatch(body, at) else None


def _same_number_tags(text: bytes) -> bool:
    return any(b"<%b>" % tag in text and b"</%b>" % tag in text for tag in (b"int", b"i4", b"i8"))


class _StreamingParser:
    """The grammar as a stack of open elements, fed by expat."""

    def __init__(self) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        # With a default handler set, expat hands over entity references it
        # would otherwise expand.
        parser.DefaultHandler = self._default
        parser.ExternalEntityRefHandler = self._external
        self._parser = parser
        self._tags: list[str] = []
        self._values: list[_Value | None] = []
        self._buffer: list[str] = []
        self._method = ""
        self._params: list[Raw] | None = None
        self._closed_params = 0
        self._complete = False

    def parse(self, body: bytes) -> RawCall:
        try:
            self._parser.Parse(body, True)
        except expat.ExpatError as error:
            if not self._complete:
                raise WireError(f"XML: {error}") from error
        except (ValueError, LookupError) as error:
            raise WireError(f"XML: {error}") from error
        if not self._complete:
            raise WireError("XML: no complete document")
        assert self._params is not None
        return RawCall(self._method, self._params)

    # -- events ---------------------------------------------------------

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._tags) >= MAX_DEPTH:
            raise WireError("XML: nested too deeply")
        parent = self._tags[-1] if self._tags else ""
        before = "".join(self._buffer)
        self._buffer.clear()
        if before and not before.isspace():
            raise WireError(f"XML-RPC: text before <{tag[:40]}>")
        opener = _CHILDREN.get(parent, {}).get(tag)
        if opener is None:
            raise WireError(f"XML-RPC: <{tag[:40]}> inside <{parent[:40]}>")
        self._tags.append(tag)
        opener(self)

    def _end(self, tag: str) -> None:
        text = "".join(self._buffer)
        self._buffer.clear()
        self._tags.pop()
        closer = _CLOSERS.get(tag)
        if closer is not None:
            closer(self, text)
        elif text and not text.isspace():
            raise WireError(f"XML-RPC: text inside <{tag[:40]}>")
        if not self._tags:
            self._complete = True

    def _text(self, text: str) -> None:
        self._buffer.append(text)

    def _default(self, text: str) -> None:
        if text.startswith("&"):
            raise WireError(f"XML: unknown entity {text[:40]}")

    def _external(self, *names: object) -> int:
        raise WireError("XML: external entities are refused")

    # -- what may be opened ---------------------------------------------

    def _open_plain(self) -> None:
        pass

    def _open_method_name(self) -> None:
        if self._method:
            raise WireError("XML-RPC: two method names")

    def _open_params(self) -> None:
        if not self._method or self._params is not None:
            raise WireError("XML-RPC: params must follow the method name")
        self._params = []

    def _open_value(self) -> None:
        self._values.append(_Value())

    def _open_param(self) -> None:
        self._values.append(None)

    def _open_type(self) -> None:
        value = self._values[-1]
        if value is None or value.typed:
            raise WireError("XML-RPC: two types in one value")
        value.typed = True

    def _open_array(self) -> None:
        self._open_type()
        value = self._values[-1]
        assert value is not None
        value.content = value.items = []

    def _open_struct(self) -> None:
        self._open_type()
        value = self._values[-1]
        assert value is not None
        value.content = value.members = {}

    def _open_data(self) -> None:
        value = self._values[-1]
        assert value is not None
        if value.closed_data:
            raise WireError("XML-RPC: two data elements in one array")
        value.closed_data = True

    def _open_member(self) -> None:
        value = self._values[-1]
        assert value is not None
        value.name = None
        value.has_member = False

    def _open_name(self) -> None:
        value = self._values[-1]
        assert value is not None
        if value.name is not None:
            raise WireError("XML-RPC: two names in one member")

    def _open_member_value(self) -> None:
        value = self._values[-1]
        assert value is not None
        if value.name is None or value.has_member:
            raise WireError("XML-RPC: a member is one name and then one value")
        self._open_value()

    # -- what happens when it closes ------------------------------------

    def _close_call(self, text: str) -> None:
        if self._params is None:
            raise WireError("XML-RPC: no params")

    def _close_method_name(self, text: str) -> None:
        if not text:
            raise WireError("XML-RPC: empty method name")
        self._method = text

    def _close_value(self, text: str) -> None:
        value = self._values.pop()
        assert value is not None
        if not value.typed:
            value.content = text
        elif text and not text.isspace():
            raise WireError("XML-RPC: text after the type of a value")
        owner = self._values[-1] if self._values else None
        if owner is None:
            assert self._params is not None
            self._params.append(value.content)
        elif owner.items is not None:
            owner.items.append(value.content)
        elif owner.members is not None and owner.name is not None:
            owner.members[owner.name] = value.content
            owner.has_member = True

    def _close_param(self, text: str) -> None:
        self._values.pop()
        self._closed_params += 1
        if self._params is None or len(self._params) != self._closed_params:
            raise WireError("XML-RPC: a param holds one value")

    def _close_name(self, text: str) -> None:
        value = self._values[-1]
        assert value is not None
        if not text:
            raise WireError("XML-RPC: empty member name")
        value.name = text

    def _close_member(self, text: str) -> None:
        value = self._values[-1]
        assert value is not None
        if not value.has_member:
            raise WireError("XML-RPC: a member without value")

    def _put(self, content: Raw) -> None:
        value = self._values[-1]
        assert value is not None
        value.content = content

    def _close_int(self, text: str) -> None:
        self._put(parse_int(text))

    def _close_boolean(self, text: str) -> None:
        if not text:
            raise WireError("XML-RPC: empty boolean")
        self._put(text == "1")

    def _close_double(self, text: str) -> None:
        self._put(parse_float(text))

    def _close_string(self, text: str) -> None:
        self._put(text)

    def _close_date(self, text: str) -> None:
        if not text:
            raise WireError("XML-RPC: empty date")
        self._put(RawDate(text))

    def _close_base64(self, text: str) -> None:
        try:
            self._put(RawBase64(base64.b64decode("".join(text.split()), validate=True)))
        except (binascii.Error, ValueError) as error:
            raise WireError(f"XML-RPC: {error}") from error


class _Value:
    """A value element that is open."""

    __slots__ = ("closed_data", "content", "has_member", "items", "members", "name", "typed")

    def __init__(self) -> None:
        self.typed = False
        self.content: Raw = None
        self.items: list[Raw] | None = None
        self.members: dict[str, Raw] | None = None
        self.name: str | None = None
        self.has_member = False
        self.closed_data = False


_P = _StreamingParser
_INTS = ("int", "i4", "i8")
_Opener = Callable[[_StreamingParser], None]
_Closer = Callable[[_StreamingParser, str], None]
_TYPES: Mapping[str, _Opener] = dict.fromkeys(
    (*_INTS, "boolean", "double", "string", "dateTime.iso8601", "base64", "nil"), _P._open_type
) | {"array": _P._open_array, "struct": _P._open_struct}
_CHILDREN: Mapping[str, Mapping[str, _Opener]] = {
    "": {"methodCall": _P._open_plain},
    "methodCall": {"methodName": _P._open_method_name, "params": _P._open_params},
    "params": {"param": _P._open_param},
    "param": {"value": _P._open_value},
    "value": _TYPES,
    "array": {"data": _P._open_data},
    "data": {"value": _P._open_value},
    "struct": {"member": _P._open_member},
    "member": {"name": _P._open_name, "value": _P._open_member_value},
}
_CLOSERS: Mapping[str, _Closer] = dict.fromkeys(_INTS, _P._close_int) | {
    "methodCall": _P._close_call,
    "methodName": _P._close_method_name,
    "param": _P._close_param,
    "value": _P._close_value,
    "name": _P._close_name,
    "member": _P._close_member,
    "boolean": _P._close_boolean,
    "double": _P._close_double,
    "string": _P._close_string,
    "dateTime.iso8601": _P._close_date,
    "base64": _P._close_base64,
}
