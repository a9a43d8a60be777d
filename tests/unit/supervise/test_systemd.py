"""Notifications to systemd."""

import socket
from pathlib import Path

import pytest

from xapi_py.supervise import systemd


@pytest.fixture
def listener():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.settimeout(5)
        yield made


def test_a_notification_arrives(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listener.bind(str(tmp_path / "s"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
    systemd.tell("READY=1")
    assert listener.recv(100) == b"READY=1"


def test_an_abstract_socket_is_named_with_an_at(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listener.bind(f"\0{tmp_path}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{tmp_path}")
    systemd.tell("READY=1")
    assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens"])
def test_without_a_listener_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.tell("READY=1")
