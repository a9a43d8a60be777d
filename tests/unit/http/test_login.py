"""Which credentials a request carries."""

import base64
import os
import socket
from typing import Any, cast

import pytest

from xapi_py.http.bodies import BodyStream
from xapi_py.http.login import (
    LocalLogin,
    Login,
    PasswordLogin,
    PoolSecretLogin,
    SessionLogin,
    login_of,
    unauthorised,
)
from xapi_py.http.messages import HttpError, Request
from xapi_py.http.peers import Peer, peer_of

TCP = Peer("tcp", "192.0.2.7")


def request(target: str = "/x", peer: Peer = TCP, **headers: str) -> Request:
    body = BodyStream(lambda: None, lambda: None)
    return Request("GET", target, "1.1", headers, peer, cast(Any, None), body)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("found", "login"),
    [
        (request(), None),
        (request("/x?session_id=OpaqueRef%3Aa&uuid=b"), SessionLogin("OpaqueRef:a")),
        (request("/x?session_id=a&session_id=b"), SessionLogin("a")),
        (request("/x?SESSION_ID=a"), None),
        (request(cookie="a=b; session_id=OpaqueRef:s; c"), SessionLogin("OpaqueRef:s")),
        (request("/x?session_id=q", cookie="session_id=c"), SessionLogin("q")),
        (request("/x?pool_secret=p", authorization=basic("u:p")), PoolSecretLogin("p")),
        (request(cookie="pool_secret=a/b"), PoolSecretLogin("a/b")),
        (request(authorization=basic("root:pa:ss")), PasswordLogin("root", "pa:ss")),
        (request(authorization=basic("root:pässword")), PasswordLogin("root", "pässword")),
        (request(peer=Peer("unix", "", 0)), LocalLogin(0)),
        (request("/x?session_id=s", peer=Peer("unix", "", 0)), SessionLogin("s")),
    ],
)
def test_the_first_kind_of_credentials_counts(found: Request, login: Login | None) -> None:
    assert login_of(found) == login


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!!", "Bearer x", basic("nocolon")])
def test_an_unreadable_authorization_is_refused(header: str) -> None:
    with pytest.raises(HttpError) as caught:
        login_of(request(authorization=header))
    assert caught.value.status == 500


def test_secrets_do_not_show_in_a_log() -> None:
    assert "hunter2" not in repr([PoolSecretLogin("hunter2"), PasswordLogin("u", "hunter2")])


def test_the_refusal_names_its_realm() -> None:
    assert unauthorised("get_export").headers == (("WWW-Authenticate", 'Basic realm="get_export"'),)


def test_tasks_travel_in_query_or_cookie() -> None:
    found = request("/x?task_id=OpaqueRef%3At", cookie="subtask_of=OpaqueRef:p")
    assert (found.task_id, found.subtask_of) == ("OpaqueRef:t", "OpaqueRef:p")


def test_the_kernel_tells_who_is_on_the_unix_socket() -> None:
    class Transport:
        def __init__(self, handle: socket.socket) -> None:
            self.getHandle = lambda: handle

    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(Transport(ours), "unix") == Peer("unix", "", os.getuid())
