"""What the device_config of an iSCSI SR means, and finding targets and LUNs with it.  Blocking.

Source: briefs, storage sections 1.2, 3 and 6.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sm import errors, probe_xml
from sm.block import initiator
from sm.block.initiator import Chap, Portal
from sm.block.scsi import Lun
from sm.files.mounts import System
from xapi_py.base.rpc.errors import RpcError

Config = Mapping[str, str]
PORT: Final = 3260


def _missing(number: int, document: str = "") -> RpcError:
    return errors.backend_failure(number, "", document)


def chap_of(config: Config) -> Chap:
    """Give the names and passwords of a device_config."""
    return Chap(
        config.get("chapuser", ""),
        config.get("chappassword", ""),
        config.get("incoming_chapuser", ""),
        config.get("incoming_chappassword", ""),
    )


def _port(config: Config) -> int:
    text = config.get("port") or str(PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise _missing(errors.ISCSI_PORT)
    return int(text)


def _split(text: str, port: int) -> tuple[str, int]:
    """Split ``address[:port]``; an IPv6 address with a port stands in brackets."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        return address, int(rest[1:]) if rest[1:].isdigit() else port
    if text.count(":") == 1:
        address, _, number = text.partition(":")
        return address, int(number) if number.isdigit() else port
    return text, port


@dataclass(frozen=True, slots=True)
class Request:
    """A device_config that makes sense: addresses with names resolved, who asks."""

    asked: str
    addresses: tuple[tuple[str, int], ...]
    initiator: str
    chap: Chap
    iqn: str


def understand(system: System, config: Config, own_iqn: str) -> Request:
    """Check a device_config.  Errors, in this order: 95, 97, 142, 140."""
    asked = config.get("target", "")
    if not asked:
        raise _missing(errors.CONFIG_TARGET_MISSING)
    name = config.get("localIQN") or own_iqn
    if not name:
        raise _missing(errors.CONFIG_ISCSI_IQN_MISSING)
    port = _port(config)
    addresses = []
    for text in (t.strip() for t in asked.split(",") if t.strip()):
        host, number = _split(text, port)
        try:
            addresses.append((system.resolve(host), number))
        except OSError as problem:
            raise errors.backend_failure(errors.DNS, f"{host}: {problem}") from problem
    return Request(asked, tuple(addresses), name, chap_of(config), config.get("targetIQN", ""))


def discover(request: Request) -> list[Portal]:
    """List the targets at all addresses that answer.  Errors: 141, 68."""
    found: dict[tuple[str, int, str], Portal] = {}
    problems: list[RpcError] = []
    for address, port in request.addresses:
        try:
            portals = initiator.discover(address, port, request.initiator, request.chap)
        except initiator.Unreachable as problem:
            problems.append(errors.backend_failure(errors.ISCSI_TARGET, str(problem)))
            continue
        except initiator.IscsiError as problem:
            problems.append(errors.backend_failure(errors.ISCSI_LOGIN, str(problem)))
            continue
        for portal in portals:
            found.setdefault((portal.address, portal.port, portal.iqn), portal)
    if not found and problems:
        raise problems[0]
    return list(found.values())


def targets_document(portals: Iterable[Portal], asked: str) -> str:
    """Give the document of targets to choose from."""
    return probe_xml.iscsi_targets(((p.address, p.port, p.iqn) for p in portals), asked)


def portals_of(request: Request) -> list[Portal]:
    """List the portals of the targets that are wanted, those that were asked for first.

    Errors: 141, 68, 96 with the targets to choose from.
    """
    portals = discover(request)
    wanted = [p for p in portals if request.iqn in ("*", p.iqn)] if request.iqn else []
    if not wanted:
        document = targets_document(portals, request.asked)
        raise _missing(errors.CONFIG_TARGET_IQN_MISSING, document)
    return sorted(wanted, key=lambda p: (p.address, p.port) not in request.addresses)


def luns(request: Request, portals: Sequence[Portal]) -> dict[str, list[Lun]]:
    """List the LUNs of targets by target.  Errors: 68, 141 when no portal of one answers."""
    found: dict[str, list[Lun]] = {}
    problem: RpcError | None = None
    for portal in portals:
        if portal.iqn in found:
            continue
        with contextlib.suppress(initiator.IscsiError):
            found[portal.iqn] = _look_at(request, portal)
    for portal in portals:
        if portal.iqn not in found:
            try:
                found[portal.iqn] = _look_at(request, portal)
            except initiator.Unreachable as why:
                problem = errors.backend_failure(errors.ISCSI_TARGET, str(why))
            except initiator.IscsiError as why:
                problem = errors.backend_failure(errors.ISCSI_LOGIN, str(why))
    if problem is not None and len(found) < len({p.iqn for p in portals}):
        raise problem
    return found


def _look_at(request: Request, portal: Portal) -> list[Lun]:
    return initiator.look_at(
        portal.address, portal.port, request.initiator, portal.iqn, request.chap
    )


def luns_document(found: Iterable[Lun]) -> str:
    """Give the document of LUNs to choose from."""
    return probe_xml.iscsi_luns(
        [
            ("vendor", lun.vendor),
            ("serial", lun.serial),
            ("LUNid", str(lun.id)),
            ("size", str(lun.size_bytes)),
            ("SCSIid", lun.scsi_id),
        ]
        for lun in found
    )
