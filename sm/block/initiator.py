"""A small iSCSI initiator: discovers targets and looks at their LUNs, without the kernel.

For probing only: it never reads or writes a disk.  So what a probe looked at
leaves no session behind, and failures are told apart exactly.

Source: RFC 7143 (iSCSI), RFC 1994 (CHAP).
"""

import base64
import hashlib
import hmac
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from sm.block import scsi
from sm.block.scsi import Lun

TIMEOUT_S: Final = 10.0
_BHS: Final = 48
_LOGIN, _TEXT, _COMMAND, _LOGOUT = 0x03, 0x04, 0x01, 0x06
_LOGIN_ANSWER, _TEXT_ANSWER, _STATUS, _DATA_IN, _NOP_IN = 0x23, 0x24, 0x21, 0x25, 0x20
_NONE: Final = b"\xff\xff\xff\xff"
_WORDS: Final = Struct(">II")
_MAX_DATA: Final = 1 << 22
_TRIES: Final = 4
_OF_SESSIONS: Final = {
    **{"ErrorRecoveryLevel": "0", "MaxConnections": "1", "MaxOutstandingR2T": "1"},
    **{"InitialR2T": "Yes", "ImmediateData": "No", "DataPDUInOrder": "Yes"},
    **{"DataSequenceInOrder": "Yes", "DefaultTime2Wait": "0", "DefaultTime2Retain": "0"},
    **{"MaxBurstLength": "262144", "FirstBurstLength": "65536"},
}
"""What is negotiated in the end; LIO asks about whatever was not offered."""
_DECLARED: Final = frozenset(["TargetAlias", "TargetPortalGroupTag", "MaxRecvDataSegmentLength"])


class IscsiError(Exception):
    """The target does not do what is needed."""


class Unreachable(IscsiError):
    """No connection, or it broke."""


class HungUp(Unreachable):
    """The target closed the connection."""


class LoginRefused(IscsiError):
    """The target refuses the log-in, or is not the one it should be."""


@dataclass(frozen=True, slots=True)
class Chap:
    """Names and passwords: of this host, and of the target where it must prove itself too."""

    user: str = ""
    password: str = field(default="", repr=False)
    incoming_user: str = ""
    incoming_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Portal:
    """An address a target answers at."""

    address: str
    port: int
    group: int
    iqn: str


def _texts(pairs: Mapping[str, str]) -> bytes:
    return b"".join(f"{k}={v}".encode() + b"\0" for k, v in pairs.items())


def _pairs(data: bytes) -> list[tuple[str, str]]:
    texts = data.decode("utf-8", "replace").split("\0")
    return [(k, v) for k, _, v in (t.partition("=") for t in texts if "=" in t)]


def _number(text: str) -> bytes:
    """Read a binary value, in hexadecimal or base 64.  Errors: LoginRefused."""
    try:
        if text[:2].lower() == "0x":
            return bytes.fromhex(text[2:].rjust(len(text[2:]) + len(text[2:]) % 2, "0"))
        if text[:2].lower() == "0b":
            return base64.b64decode(text[2:])
    except ValueError:
        pass
    raise LoginRefused("the target's CHAP answer makes no sense")


def chap_response(number: int, password: str, challenge: bytes) -> bytes:
    """Answer a CHAP challenge."""
    return hashlib.md5(bytes([number & 255]) + password.encode() + challenge).digest()


class Session:
    """A session with a target, or for discovery; the caller closes it.

    Errors of all methods: Unreachable, LoginRefused, IscsiError.
    """

    def __init__(self, address: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        try:
            self._socket = socket.create_connection((address, port), timeout_s)
        except OSError as problem:
            raise Unreachable(f"{address}:{port}: {problem}") from problem
        self._command = 1
        self._status = 0
        self._tag = 0
        self._isid = b"\x80" + os.urandom(5)
        self._tsih = b"\0\0"

    def close(self) -> None:
        """Log out without waiting for an answer."""
        try:
            head = bytes([0x40 | _LOGOUT, 0x80]) + bytes(14) + self._next_tag() + bytes(4)
            self._send(head + _WORDS.pack(self._command, self._status), b"")
        except IscsiError:
            pass
        self._socket.close()

    # -- units of the protocol

    def _next_tag(self) -> bytes:
        self._tag += 1
        return self._tag.to_bytes(4, "big")

    def _send(self, head: bytes, data: bytes) -> None:
        head = head.ljust(_BHS, b"\0")
        head = head[:4] + len(data).to_bytes(4, "big") + head[8:]
        try:
            self._socket.sendall(head + data + bytes(-len(data) % 4))
        except OSError as problem:
            raise Unreachable(str(problem)) from problem

    def _receive(self) -> tuple[bytes, bytes]:
        while True:
            head = self._read(_BHS)
            length = int.from_bytes(head[5:8], "big")
            if length > _MAX_DATA:
                raise IscsiError("the target sends too much at once")
            self._read(head[4] * 4)
            data = self._read(length + -length % 4)[:length]
            if head[0] & 0x3F in (_STATUS, _LOGIN_ANSWER, _TEXT_ANSWER) or head[1] & 1:
                self._status = int.from_bytes(head[24:28], "big") + 1
            if head[0] & 0x3F == _NOP_IN:
                if head[20:24] != _NONE:
                    answer = bytes([0x40, 0x80]) + bytes(6) + head[8:16] + _NONE + head[20:24]
                    self._send(answer + _WORDS.pack(self._command, self._status), b"")
                continue
            return head, data

    def _read(self, length: int) -> bytes:
        pieces = []
        while length:
            try:
                piece = self._socket.recv(min(length, 1 << 16))
            except ConnectionResetError as problem:
                raise HungUp("the target broke the connection") from problem
            except OSError as problem:
                raise Unreachable(str(problem)) from problem
            if not piece:
                raise HungUp("the target closed the connection")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    # -- logging in

    def log_in(self, initiator: str, target: str, chap: Chap) -> None:
        """Log in to a target, or for discovery when ``target`` is empty."""
        opening = {"InitiatorName": initiator}
        if target:
            opening |= {"SessionType": "Normal", "TargetName": target}
        else:
            opening["SessionType"] = "Discovery"
        opening["AuthMethod"] = "CHAP,None" if chap.user else "None"
        answer = dict(self._login(0, 1, opening, leave=not chap.user))
        if answer.get("AuthMethod", "None") == "CHAP":
            self._prove(chap)
        elif target and chap.incoming_user:
            raise LoginRefused("the target does not prove who it is")
        elif chap.user and not self._left:
            self._login(0, 1, {}, leave=True)
        wanted = {"HeaderDigest": "None", "DataDigest": "None"}
        wanted["MaxRecvDataSegmentLength"] = "262144"
        if target:
            wanted |= _OF_SESSIONS
        asked = self._login(1, 3, wanted, leave=True)
        for _ in range(8):
            if self._left:
                return
            answers = {k: v for k, v in asked if k not in wanted and k not in _DECLARED}
            asked = self._login(1, 3, answers, leave=True)
        raise LoginRefused("the log-in does not end")

    def _login(
        self, stage: int, following: int, pairs: Mapping[str, str], *, leave: bool
    ) -> list[tuple[str, str]]:
        flags = stage << 2 | ((0x80 | following) if leave else 0)
        head = bytes([0x40 | _LOGIN, flags, 0, 0]) + bytes(4) + self._isid + self._tsih
        head += bytes(8) + _WORDS.pack(self._command, self._status)
        self._send(head, _texts(pairs))
        found: list[tuple[str, str]] = []
        while True:
            try:
                answer, data = self._receive()
            except HungUp as problem:  # what LIO does with who offers no CHAP
                raise LoginRefused(str(problem)) from problem
            if answer[0] & 0x3F != _LOGIN_ANSWER:
                raise LoginRefused("the target answers something else")
            if answer[36]:
                raise LoginRefused(f"status {answer[36]}/{answer[37]}")
            self._tsih = answer[14:16]
            found += _pairs(data)
            if not answer[1] & 0x40:
                break
            self._send(head, b"")
        self._left = bool(answer[1] & 0x80)
        return found

    def _prove(self, chap: Chap) -> None:
        asked = dict(self._login(0, 1, {"CHAP_A": "5"}, leave=False))
        if asked.get("CHAP_A") != "5" or not asked.get("CHAP_I", "").isdigit():
            raise LoginRefused("the target wants something else than CHAP with MD5")
        answer = chap_response(int(asked["CHAP_I"]), chap.password, _number(asked["CHAP_C"]))
        pairs = {"CHAP_N": chap.user, "CHAP_R": "0x" + answer.hex()}
        number, challenge = os.urandom(1)[0], os.urandom(16)
        if chap.incoming_user:
            pairs |= {"CHAP_I": str(number), "CHAP_C": "0x" + challenge.hex()}
        given = dict(self._login(0, 1, pairs, leave=True))
        if chap.incoming_user:
            expected = chap_response(number, chap.incoming_password, challenge)
            right = hmac.compare_digest(_number(given.get("CHAP_R", "")), expected)
            if not right or given.get("CHAP_N") != chap.incoming_user:
                raise LoginRefused("the target cannot prove who it is")
        if not self._left:
            self._login(0, 1, {}, leave=True)

    # -- asking

    def targets(self) -> list[Portal]:
        """List what a discovery session is told: each target with each of its portals."""
        head = bytes([_TEXT, 0x80]) + bytes(14) + self._next_tag() + _NONE
        self._send(head + _WORDS.pack(self._command, self._status), b"SendTargets=All\0")
        self._command += 1
        whole = b""
        while True:
            answer, data = self._receive()
            if answer[0] & 0x3F != _TEXT_ANSWER:
                raise IscsiError("the target does not list its targets")
            whole += data
            if answer[1] & 0x80 or answer[20:24] == _NONE:
                return list(_portals(_pairs(whole)))
            head = bytes([_TEXT, 0x80]) + bytes(14) + self._next_tag() + answer[20:24]
            self._send(head + _WORDS.pack(self._command, self._status), b"")
            self._command += 1

    def _ask(self, lun: int, cdb: bytes, length: int) -> bytes:
        """Carry out a SCSI command; empty when the device refuses it."""
        for _ in range(_TRIES):
            tag = self._next_tag()
            head = bytes([_COMMAND, 0xC1]) + bytes(6) + scsi.lun_field(lun) + tag
            head += length.to_bytes(4, "big") + _WORDS.pack(self._command, self._status)
            self._send(head + cdb.ljust(16, b"\0"), b"")
            self._command += 1
            data = bytearray()
            while True:
                answer, piece = self._receive()
                kind = answer[0] & 0x3F
                if kind == _DATA_IN:
                    at = int.from_bytes(answer[40:44], "big")
                    data[at : at + len(piece)] = piece
                    if not answer[1] & 1:
                        continue
                elif kind != _STATUS:
                    raise IscsiError("the target answers something else")
                break
            if not answer[3]:
                return bytes(data)
            attention = answer[3] == 2 and kind == _STATUS and (piece[4:5] or b"\0")[0] & 15 == 6
            if not attention:
                return b""
        return b""

    def luns(self) -> list[Lun]:
        """List the disks of the target."""
        found = []
        ask = bytes([0xA0]) + bytes(5) + (4096).to_bytes(4, "big")
        for lun in scsi.lun_ids(self._ask(0, ask, 4096)):
            standard = self._ask(lun, bytes([0x12, 0, 0, 0, 255]), 255)
            about = scsi.inquiry(standard)
            if about.kind != scsi.DISK:
                continue
            page80 = self._ask(lun, bytes([0x12, 1, 0x80, 0, 255]), 255)
            page83 = self._ask(lun, bytes([0x12, 1, 0x83, 0, 255]), 255)
            size = self._ask(lun, bytes([0x9E, 0x10]) + bytes(8) + (32).to_bytes(4, "big"), 32)
            found.append(
                Lun(
                    lun,
                    about.vendor,
                    scsi.serial(page80),
                    scsi.scsi_id(page83, page80, standard),
                    scsi.capacity16(size) if len(size) >= 12 else 0,
                    about.model,
                )
            )
        return found


def _portals(pairs: list[tuple[str, str]]) -> list[Portal]:
    found, iqn = [], ""
    for key, value in pairs:
        if key == "TargetName":
            iqn = value
        elif key == "TargetAddress":
            where, _, group = value.rpartition(",")
            address, _, port = (where or value).rpartition(":")
            if not address:
                address, port = port, "3260"
            number = int(port) if port.isdigit() else 3260
            tag = int(group) if where and group.isdigit() else 1
            found.append(Portal(address.strip("[]"), number, tag, iqn))
    return found


def discover(address: str, port: int, initiator: str, chap: Chap) -> list[Portal]:
    """List the targets behind a portal.  Errors: as ``Session``.

    Where passwords are refused it is tried without: LIO does not check them for
    discovery unless it has some of its own, and then refuses whoever offers any.
    """
    try:
        return _discover(address, port, initiator, chap)
    except LoginRefused:
        if not chap.user:
            raise
        return _discover(address, port, initiator, Chap())


def _discover(address: str, port: int, initiator: str, chap: Chap) -> list[Portal]:
    session = Session(address, port)
    try:
        session.log_in(initiator, "", chap)
        return session.targets()
    finally:
        session.close()


def look_at(address: str, port: int, initiator: str, target: str, chap: Chap) -> list[Lun]:
    """List the disks of a target.  Errors: as ``Session``."""
    session = Session(address, port)
    try:
        session.log_in(initiator, target, chap)
        return session.luns()
    finally:
        session.close()
