"""Text consoles of guests on a real pseudo terminal, whose other end is the test."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import StringTransport

from tests.integration.test_xen_emulators import Readers
from tests.unit.xenops.factories import done, make_md
from tests.unit.xenops.xen.device_bench import DOMID, HOME, DeviceBench
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.contract import Console
from xenops.backends.xen.consoles import KEPT, MAX_UNREAD, Consoles
from xenops.backends.xen.device_model import DeviceModel

pytestmark = pytest.mark.integration


class Reactor(Readers):
    """Also listens, for factories the test then asks for protocols."""

    def __init__(self) -> None:
        super().__init__()
        self.listening: dict[str, Any] = {}

    def listenUNIX(self, path: str, factory: Any, mode: int) -> Any:
        assert mode == 0o600
        self.listening[path] = factory
        reactor = self

        class Port:
            def stopListening(self) -> None:
                del reactor.listening[path]

        return Port()


class Bench(DeviceBench):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reactor = self.host.reactor = Reactor()
        self.consoles = Consoles(
            self.host,
            self.domains,
            DeviceModel(self.host, self.domains, None),  # type: ignore[arg-type]
        )
        self.master, slave = os.openpty()
        self.terminal = os.ttyname(slave)
        self.slave = slave

    def guest_writes(self, data: bytes) -> None:
        os.write(self.master, data)
        self.reactor.until(lambda: True)
        for reader in list(self.reactor.readers):
            reader.doRead()

    def connect(self, protocol: Any) -> tuple[Any, StringTransport]:
        """Give a viewer of a console."""
        console = done(self.consoles.open(DOMID, protocol))
        transport = StringTransport()
        viewer = self.reactor.listening[console.path].buildProtocol(None)
        viewer.makeConnection(transport)
        return viewer, transport


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    done(bench.consoles.start(DOMID, make_md()))
    bench.server.put(f"{HOME}/console/tty", bench.terminal)
    yield bench
    bench.consoles.forget(DOMID)
    os.close(bench.master)
    os.close(bench.slave)


def test_who_comes_late_sees_what_was_written(bench: Bench) -> None:
    bench.guest_writes(b"booting\r\n")
    viewer, transport = bench.connect("vt100")
    bench.guest_writes(b"login: ")
    assert transport.value() == b"booting\r\nlogin: "
    viewer.dataReceived(b"root\r")
    assert os.read(bench.master, 100) == b"root\r"
    viewer.connectionLost()
    bench.guest_writes(b"more")
    assert transport.value().endswith(b"login: ")


def test_the_same_as_a_picture(bench: Bench) -> None:
    viewer, transport = bench.connect("rfb")
    assert transport.value() == b"RFB 003.008\n"
    viewer.dataReceived(b"RFB 003.003\n\x01")
    transport.clear()
    viewer.dataReceived(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 384))
    assert len(transport.value()) == 16 + 640 * 384 * 4
    viewer.dataReceived(struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 384))
    transport.clear()
    bench.guest_writes(b"x")
    assert struct.unpack_from(">xxHHHHH", transport.value()) == (1, 0, 0, 640, 16)
    viewer.dataReceived(b"\xfa")
    assert transport.disconnected


def test_no_more_is_kept_than_that(bench: Bench) -> None:
    for _ in range(KEPT // 1000 + 5):
        bench.guest_writes(b"x" * 1000)
    _, transport = bench.connect("vt100")
    assert len(transport.value()) == KEPT


def test_a_viewer_that_does_not_read_is_hung_up_on(bench: Bench) -> None:
    _, transport = bench.connect("vt100")
    transport.dataBuffer = b"x" * (MAX_UNREAD + 1)  # type: ignore[attr-defined]
    bench.guest_writes(b"one too many")
    assert transport.disconnected


def test_a_guest_cannot_lead_us_to_another_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    done(bench.consoles.start(DOMID, make_md()))
    for path in ("/etc/passwd", "/dev/pts/../sda", "/dev/pts/"):
        bench.server.put(f"{HOME}/console/tty", path)
        with pytest.raises(RpcError, match="Does_not_exist"):
            done(bench.consoles.open(DOMID, "vt100"))


def test_consoles_go_with_their_domain(bench: Bench) -> None:
    path = str(bench.host.run_folder / "console-7.vnc")
    assert Console("rfb", path=path) in bench.consoles.stat(DOMID)
    done(bench.consoles.open(DOMID, "rfb"))
    done(bench.consoles.stop(DOMID))
    assert (bench.consoles.stat(DOMID), bench.reactor.listening, bench.reactor.readers) == (
        [],
        {},
        [],
    )
    with pytest.raises(RpcError, match="Does_not_exist"):
        done(bench.consoles.open(DOMID, "rfb"))


def test_a_new_daemon_follows_them_again(bench: Bench) -> None:
    model = DeviceModel(bench.host, bench.domains, None)  # type: ignore[arg-type]
    again = Consoles(bench.host, bench.domains, model)
    done(again.recover(DOMID))
    assert again.stat(DOMID) == bench.consoles.stat(DOMID)
    again.forget(DOMID)
