"""A post to another host, to find out whether this one reaches it."""

import http.client
import ssl

from twisted.internet.threads import deferToThread

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.datamodel import errors as err

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
PORTS = range(1, 65536)


@message("pool.send_test_post")
async def send_test_post(call: Call, host: str, port: int, body: str) -> str:
    """Post a text over TLS and give the text that comes back, up to 64 KiB.

    The other side's certificate is not checked: this tests the way there.
    Errors: INTERNAL_ERROR when there is no answer within 10 s.
    """
    if port not in PORTS:
        raise err.INVALID_VALUE("port", str(port))
    try:
        return await deferToThread(_post, host, port, body)
    except (OSError, ValueError, http.client.HTTPException) as problem:
        raise err.INTERNAL_ERROR(f"no answer from {host}: {problem}") from problem


def _post(host: str, port: int, body: str) -> str:
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=unchecked)
    try:
        connection.request("POST", "/", body.encode(), {"Content-Type": "text/plain"})
        return connection.getresponse().read(MAX_ANSWER_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()
