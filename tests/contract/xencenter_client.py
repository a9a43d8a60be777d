"""The bytes XenCenter sends, and what its two parsers accept: no library in between.

``Connection`` is one TCP or TLS connection with keep-alive; ``XmlRpc`` and
``JsonRpc`` write calls as the client's own libraries write them and read
answers as strictly as these do: AssertionError where the client would throw.
"""

import json
import re
import socket
import ssl
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

NULL = "OpaqueRef:NULL"
DATE = re.compile(r"^\d{8}T\d\d:\d\d:\d\dZ$")
SCHANNEL_2017 = (
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "AES256-SHA",
    "AES128-SHA",
)
_BETWEEN_TAGS = re.compile(rb">\s+<")


class Refused(Exception):
    """The server answered a failure; ``args`` are its code and parameters."""


class Date(str):
    """The text of a date as it came."""

    __slots__ = ()


class Text(str):
    """Text that may stand for a string, a number, an enum value or a reference."""

    __slots__ = ()


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection to a host, kept open between requests."""

    def __init__(
        self, address: str, port: int, *, ciphers: str | None = None, timeout_s: float = 60
    ) -> None:
        self._socket = socket.create_connection((address, port), timeout_s)
        if ciphers is not None:
            self._socket = schannel(ciphers).wrap_socket(self._socket)
        self._received = b""

    def close(self) -> None:
        self._socket.close()

    @property
    def cipher(self) -> tuple[str, str]:
        """Name of the suite and protocol that TLS settled on."""
        assert isinstance(self._socket, ssl.SSLSocket)
        cipher = self._socket.cipher()
        assert cipher is not None
        return cipher[0], cipher[1]

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def post(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Send a request and wait for its answer."""
        self.send_post(path, headers, body)
        return self.answer()

    def send_post(self, path: str, headers: dict[str, str], body: bytes) -> None:
        lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        lines += ["Host: 127.0.0.1", f"Content-Length: {len(body)}", "Connection: Keep-Alive"]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def answer(self) -> Answer:
        """Read one answer with a length."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(self._received) < length:
            self._more()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(version, int(status), headers, body)

    def read(self, count: int) -> bytes:
        """Read exactly so many bytes, after an answer that gave the connection away."""
        while len(self._received) < count:
            self._more()
        data, self._received = self._received[:count], self._received[count:]
        return data

    def rest(self) -> bytes:
        """Read to the end of the connection."""
        while data := self._socket.recv(65536):
            self._received += data
        rest, self._received = self._received, b""
        return rest

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        head, _, self._received = self._received.partition(mark)
        return head

    def _more(self) -> None:
        data = self._socket.recv(1 << 20)
        assert data, f"the server closed the connection after {self._received[:200]!r}"
        self._received += data


def schannel(ciphers: str) -> ssl.SSLContext:
    """Give the TLS of a .NET program of 2017: up to 1.2, any certificate, no server name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    return context


class XmlRpc:
    """Calls as the client's XML-RPC library writes and reads them."""

    path = "/"

    def __init__(self, user_agent: str = "XenAPI/2.6") -> None:
        self._headers = {"User-Agent": user_agent, "Content-Type": "text/xml"}

    def request(self, method: str, params: tuple[Any, ...]) -> tuple[dict[str, str], bytes]:
        """Give headers and body; the client indents its XML."""
        before, after = "    <param>\r\n      <value>\r\n", "\r\n      </value>\r\n    </param>\r\n"
        written = "".join(f"{before}        {_xml(p)}{after}" for p in params)
        text = (
            f'<?xml version="1.0"?>\r\n<methodCall>\r\n  <methodName>{method}</methodName>\r\n'
            f"  <params>\r\n{written}  </params>\r\n</methodCall>"
        )
        return self._headers, text.encode()

    def read(self, body: bytes) -> Any:
        """Give the value of an answer.  Errors: Refused for a failure."""
        assert not _BETWEEN_TAGS.search(body), "white space between tags"
        assert b"<!DOCTYPE" not in body
        root = ET.fromstring(body)
        assert [e.tag for e in root.iter()][:5] == (
            ["methodResponse", "params", "param", "value", "struct"]
        )
        answer = _struct(root[0][0][0][0])
        if answer["Status"] == "Success":
            assert set(answer) == {"Status", "Value"}
            return answer["Value"]
        assert set(answer) == {"Status", "ErrorDescription"}
        assert answer["Status"] == "Failure"
        raise Refused(*[_text(part) for part in answer["ErrorDescription"]])


class JsonRpc:
    """Calls as the client's JSON library writes and reads them."""

    path = "/jsonrpc"

    def __init__(self, version: str, user_agent: str = "XenAPI/2.15") -> None:
        self._version = version
        self._id = 0
        self._headers = {
            "User-Agent": user_agent,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    def request(self, method: str, params: tuple[Any, ...]) -> tuple[dict[str, str], bytes]:
        call: dict[str, Any] = {"id": self._id, "method": method, "params": params}
        if self._version == "2.0":
            call["jsonrpc"] = "2.0"
        self._id += 1
        return self._headers, json.dumps(call).encode()

    def read(self, body: bytes) -> Any:
        """Give the value of an answer.  Errors: Refused for a failure."""
        answer = json.loads(body.decode("utf-8"))
        assert "id" in answer
        return self._read2(answer) if self._version == "2.0" else self._read1(answer)

    def _read1(self, answer: dict[str, Any]) -> Any:
        assert set(answer) == {"result", "error", "id"}
        if answer["error"] is None:
            return answer["result"]
        assert isinstance(answer["error"], list)
        assert answer["result"] is None
        raise Refused(*[_text(part) for part in answer["error"]])

    def _read2(self, answer: dict[str, Any]) -> Any:
        assert answer["jsonrpc"] == "2.0"
        if "result" in answer:
            assert "error" not in answer
            return answer["result"]
        error = answer["error"]
        assert isinstance(error["code"], int)
        assert isinstance(error["data"], list)
        raise Refused(_text(error["message"]), *[_text(part) for part in error["data"]])


class Client:
    """One of the client's connections, speaking one protocol."""

    def __init__(self, connection: Connection, dialect: XmlRpc | JsonRpc) -> None:
        self.connection, self.dialect = connection, dialect

    def raw(self, method: str, *params: Any) -> Answer:
        """Call and give the HTTP answer."""
        return self.connection.post(self.dialect.path, *self.dialect.request(method, params))

    def call(self, method: str, *params: Any) -> Any:
        """Call and give the value.  Errors: Refused; AssertionError when the client would throw."""
        self.start(method, *params)
        return self.finish()

    def start(self, method: str, *params: Any) -> None:
        """Send a call whose answer ``finish`` gives."""
        headers, body = self.dialect.request(method, params)
        self.connection.send_post(self.dialect.path, headers, body)

    def finish(self) -> Any:
        answer = self.connection.answer()
        assert answer.status == 200, answer
        return self.dialect.read(answer.body)


def _xml(value: Any) -> str:
    if isinstance(value, bool):
        return f"<boolean>{int(value)}</boolean>"
    if isinstance(value, float):
        return f"<double>{value:g}</double>"
    if isinstance(value, str):
        return f"<string>{escape(value)}</string>" if value else "<string />"
    if isinstance(value, list | tuple):
        inner = "".join(f"<value>{_xml(v)}</value>" for v in value)
        return f"<array><data>{inner}</data></array>"
    inner = "".join(
        f"<member><name>{escape(k)}</name><value>{_xml(v)}</value></member>"
        for k, v in value.items()
    )
    return f"<struct>{inner}</struct>"


def _struct(struct: ET.Element) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for member in struct:
        assert [e.tag for e in member] == ["name", "value"]
        name = member[0].text or ""
        assert name not in members, f"{name} is there twice"
        members[name] = _counts(member[1]) if name == "valid_ref_counts" else _value(member[1])
    return members


def _counts(value: ET.Element) -> dict[str, int]:
    """Read the only place where typed integers are allowed."""
    return {m[0].text or "": int("".join(m[1].itertext())) for m in value[0]}


def _value(value: ET.Element) -> Any:
    if len(value) == 0:
        return Text(value.text or "")
    (inner,) = value
    assert not (value.text or "").strip()
    match inner.tag:
        case "string":
            return Text(inner.text or "")
        case "boolean":
            assert inner.text in ("0", "1")
            return inner.text == "1"
        case "double":
            return float(inner.text or "")
        case "dateTime.iso8601":
            assert DATE.match(inner.text or ""), inner.text
            return Date(inner.text)
        case "array":
            (data,) = inner
            return [_value(v) for v in data]
        case "struct":
            return _struct(inner)
        case other:
            raise AssertionError(f"the client does not take <{other}>")


def _text(value: Any) -> str:
    assert isinstance(value, str), f"{value!r} is not a string"
    return value
