"""Requests: what is a call, what is none, and that nothing else can happen."""

import contextlib
import time
import xmlrpc.client

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xapi_py.base.rpc import framing
from xapi_py.wire import jsonrpc, xml_request
from xapi_py.wire.errors import WireError
from xapi_py.wire.raw import RawBase64, RawCall, RawDate
from xapi_py.wire.xmlrpc import XMLRPC


def document(value: str) -> bytes:
    return (
        "<methodCall><methodName>VM.x</methodName><params><param>"
        f"<value>{value}</value></param></params></methodCall>"
    ).encode()


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ("plain", "plain"),
        ("<string>tagged</string>", "tagged"),
        ("  kept  ", "  kept  "),
        (" <string>x</string> ", "x"),
        ("\n", "\n"),
        ("", ""),
        ("<string/>", ""),
        ("<int>6</int>", 6),
        ("<i4>99999999999</i4>", 99999999999),
        ("<i8>-0x10</i8>", -16),
        ("<boolean>1</boolean>", True),
        ("<boolean>true</boolean>", False),
        ("<double>1e3</double>", 1000.0),
        ("<nil/>", None),
        ("<dateTime.iso8601>x</dateTime.iso8601>", RawDate("x")),
        ("<base64>aGVs\nbG8=</base64>", RawBase64(b"hello")),
        ("<array></array>", []),
        ("<array><data/></array>", []),
        ("<array><data> <value>a</value>\n<value><int>1</int></value></data></array>", ["a", 1]),
        ("<struct/>", {}),
        ("<struct><member><name> a </name><value><array/></value></member></struct>", {" a ": []}),
        ("<string>&lt;&#65;&#x1F680;</string>", "<A🚀"),
        ("<string><![CDATA[a<b>&c]]></string>", "a<b>&c"),
        ("<string>a<!-- c --><?pi x?>b</string>", "ab"),
        ("<string>a > b</string>", "a > b"),
        ("<string>a\r\nb&#xD;&#xA;</string>", "a\nb\r\n"),
    ],
)
def test_xml_values(value: str, raw: object) -> None:
    call = xml_request.parse(document(value))
    assert (call.method, call.params) == ("VM.x", [raw])
    assert type(call.params[0]) is type(raw)


@pytest.mark.parametrize(
    "value",
    ["<int></int>", "<int>x</int>", "<int> 5 </int>", "<i8>123456789012345678901234567890</i8>"]
    + ["<boolean></boolean>", "<double></double>", "<double>1,5</double>", "<unknown>x</unknown>"]
    + ["<dateTime.iso8601></dateTime.iso8601>", "<string>a</string><string>b</string>"]
    + [
        "text<string>a</string>",
        "<string>a</string>text",
        "<STRING>x</STRING>",
        "<base64>!</base64>",
    ]
    + ["<struct><member><name></name><value>x</value></member></struct>"]
    + ["<struct><member><value>1</value><name>a</name></member></struct>"]
    + ["<struct><member><name>a</name></member></struct>", "<struct>x</struct>"]
    + ["<array><value>x</value></array>", "<array><data/><data/></array>", "<array>x</array>"]
    + ["&nbsp;", "&#0;", "&#1;", "&#xFFFE;", "&#xD800;", "a & b", "\x01", "\x1b", "\uffff"],
)
def test_what_is_no_xml_value_is_refused(value: str) -> None:
    with pytest.raises(WireError) as caught:
        xml_request.parse(document(value))
    assert caught.value.status == 500


CALL = b"<methodCall><methodName>m</methodName><params></params></methodCall>"


@pytest.mark.parametrize(
    "body",
    [
        CALL,
        b'<?xml version="1.0" encoding="UTF-8"?>\n' + CALL,
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + CALL,
        b"\xef\xbb\xbf<?xml version='1.0'?>" + CALL,
        b'<!DOCTYPE m [<!ENTITY x "y">]>' + CALL,
        CALL + b"junk",
        CALL + CALL,
        b'<methodCall xmlns="urn:x"><methodName>m</methodName><!-- c --><params/></methodCall>',
    ],
)
def test_odd_documents_that_are_calls(body: bytes) -> None:
    assert xml_request.parse(body) == RawCall("m", [])


BOMB = (
    b'<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12))
    + b"]>"
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"hello",
        b"<a/>",
        b"<methodCall/>",
        b"<methodResponse/>",
        b'\n <?xml version="1.0"?>' + CALL,
        CALL[:-1],
        b"<methodCall><methodName>m</methodName></methodCall>",
        b"<methodCall><params/><methodName>m</methodName></methodCall>",
        b"<methodCall><methodName></methodName><params/></methodCall>",
        b"<methodCall><methodName>m</methodName><params/><params/></methodCall>",
        b"<methodCall><methodName>m</methodName><params><param/></params></methodCall>",
        b"<methodcall><methodName>m</methodName><params/></methodcall>",
        b"<methodCall><methodName>caf\xe9</methodName><params/></methodCall>",
        b'<?xml version="1.0" encoding="nosuch"?>' + CALL,
        BOMB + CALL.replace(b">m<", b">&m;<"),
        BOMB + CALL.replace(b"<params>", b'<params a="&m;">'),
        b'<!DOCTYPE m [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
        + CALL.replace(b">m<", b">&e;<"),
        b'<!DOCTYPE m [<!ENTITY % e SYSTEM "file:///etc/hostname">%e;]>' + CALL + b"&",
        document("<array><data><value>" * 100000),
        b'{"method": "x"}',
    ],
)
def test_documents_that_are_no_calls(body: bytes) -> None:
    start = time.process_time()
    try:
        assert xml_request.parse(body) == RawCall("m", [])
    except WireError as error:
        assert error.status == 500
    assert time.process_time() - start < 1


def test_an_entity_is_never_expanded_nor_fetched() -> None:
    for entity in (b'"y"', b'SYSTEM "file:///etc/hostname"'):
        body = b"<!DOCTYPE m [<!ENTITY e %b>]>" % entity + CALL.replace(b">m<", b">&e;<")
        with pytest.raises(WireError):
            xml_request.parse(body)


@pytest.mark.parametrize("between", [b"", b"\r\n  "])
def test_the_fast_path_agrees_with_the_grammar(between: bytes) -> None:
    params = ("OpaqueRef:a", " ", 5, True, "a b=c;d/e?f>g")
    body = xmlrpc.client.dumps(params, "VM.start").encode().replace(b"&gt;", b"-")
    body = body.replace(b"<value>", b"<value>" + between).replace(
        b"</value>", between + b"</value>"
    )
    fast = xml_request._parse_plain(body)
    assert fast is not None
    assert fast == xml_request._StreamingParser().parse(body)


@pytest.mark.parametrize(
    ("body", "method", "params", "id_", "version"),
    [
        (b'{"method":"m","params":["a",1],"id":"s-1"}', "m", ["a", 1], "s-1", 1),
        (b'{"jsonrpc":"2.0","method":"m","id":-7}', "m", [], -7, 2),
        (b'{"jsonrpc":"2.0","method":"m","params":null,"id":1}', "m", [], 1, 2),
        (b'{"jsonrpc":"2.0","method":"m","params":{"a":1},"id":1}', "m", [{"a": 1}], 1, 2),
        (b'\n {"method":"m","params":[],"id":0,"extra":[1]} ', "m", [], 0, 1),
        (b'// c\n/* d */{"method":"m","params":["raw\ttab"],"id":0}', "m", ["raw\ttab"], 0, 1),
        (b'{"method":"m","params":[Infinity,1e400],"id":0}', "m", [float("inf")] * 2, 0, 1),
        (b'{"method":"m","params":["\\ud83d\\ude80"],"id":0}', "m", ["\U0001f680"], 0, 1),
    ],
)
def test_json_calls(
    body: bytes, method: str, params: list[object], id_: object, version: int
) -> None:
    dialect, call = jsonrpc.parse(body)
    assert (call.method, call.params, call.id) == (method, params, id_)
    assert dialect is (jsonrpc.JSONRPC1, jsonrpc.JSONRPC2)[version - 1]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b'"x"', b"[]", b"{}", b"{", b"{'method': 'x'}",
        b'{"method":"m","params":[]}',
        b'{"method":"m","params":[],"id":null}',
        b'{"method":"m","params":[],"id":true}',
        b'{"method":"m","params":[],"id":1.5}',
        b'{"method":"m","params":[],"id":{}}',
        b'{"method":"m","params":[],"id":99999999999999999999}',
        b'{"method":"m","params":[9223372036854775808],"id":1}',
        b'{"method":5,"params":[],"id":1}',
        b'{"Method":"m","params":[],"id":1}',
        b'{"method":"m","params":"x","id":1}',
        b'{"jsonrpc":"1.0","method":"m","params":[],"id":1}',
        b'{"jsonrpc":2.0,"method":"m","params":[],"id":1}',
        b'{"jsonrpc":null,"method":"m","params":[],"id":1}',
        b'{"method":"m","params":[],"id":1}{"method":"m","params":[],"id":1}',
        b'{"method":"m","params":["\\x41"],"id":1}',
        b'{"method":"m","params":["\\ud800"],"id":1}',
        b"[" * 100000,
        b'{"method":"m","params":' + b"[" * 100000 + b"]" * 100000 + b',"id":1}',
        b'{"method":"m","params":[' + b"9" * 10000 + b'],"id":NaN}',
    ],
)  # fmt: skip
def test_documents_that_are_no_json_calls(body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        jsonrpc.parse(body)
    assert (caught.value.status, caught.value.error) == (500, None)


def test_invalid_utf8_in_json_is_an_invalid_value() -> None:
    with pytest.raises(WireError) as caught:
        jsonrpc.parse(b'{"jsonrpc":"2.0","method":"m","params":["\xff\xfe"],"id":1}')
    assert caught.value.error is not None
    assert caught.value.error.code == "INVALID_VALUE"


def test_7_1_takes_integer_ids_only_and_answers_version_1() -> None:
    dialect, call = jsonrpc.parse_ely(b'{"jsonrpc":"2.0","method":"m","params":[],"id":7}')
    answer = b"".join(dialect.success([dialect.text("a/b")], call.id))
    assert answer == b'{"result":"a\\/b","error":null,"id":0}'
    with pytest.raises(WireError):
        jsonrpc.parse_ely(b'{"method":"m","params":[],"id":"x"}')


SEEDS = (
    xmlrpc.client.dumps(("s", 5, True, 1.5, ["a"], {"k": "v"}), "VM.start").encode(),
    document("<struct><member><name>a</name><value><nil/></value></member></struct>"),
    BOMB + CALL,
    b'{"jsonrpc": "2.0", "method": "VM.start", "params": ["s", 1.5, {"a": [null]}], "id": 1}',
    framing.encode({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {}}),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "cut", "insert", "copy", "token"])):
            case "set" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(0, 30))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case "copy":
                data[at:at] = data[draw(st.integers(0, len(data))) :][:40]
            case _:
                tokens = [b"<value>", b"</value>", b"&x;", b"<!--", b"]]>", b"\\u", b"1e999", b"{"]
                data[at:at] = draw(st.sampled_from(tokens))
    return bytes(data)


@settings(max_examples=150, deadline=2000)
@given(mutated() | st.binary(max_size=200))
def test_any_bytes_are_a_call_or_a_wire_error(body: bytes) -> None:
    for parse in (XMLRPC.parse_request, jsonrpc.parse, jsonrpc.parse_ely):
        with contextlib.suppress(WireError):
            parse(body)


@settings(max_examples=100, deadline=2000)
@given(mutated() | st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_frames_or_a_frame_error(body: bytes, size: int) -> None:
    decoder = framing.FrameDecoder(max_frame_bytes=10000)
    with contextlib.suppress(framing.FrameError):
        for i in range(0, len(body), size):
            list(decoder.feed(body[i : i + size]))
