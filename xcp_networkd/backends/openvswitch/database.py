"""Read the switch's database over its socket: all tables of interest in one request.

Source: RFC 7047 (transact, select); ovs-vswitchd.conf.db(5) for the columns.
"""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xcp_networkd import errors

_TIMEOUT_S: Final = 10.0
_COLUMNS: Final = {
    "Bridge": ("name", "ports", "other_config", "mcast_snooping_enable", "fail_mode"),
    "Port": (
        *("name", "interfaces", "tag", "fake_bridge", "mac", "bond_mode", "lacp"),
        *("bond_updelay", "bond_downdelay", "other_config", "bond_active_slave"),
    ),
    "Interface": ("name", "type", "mac", "mac_in_use", "link_state", "ofport", "lacp_current"),
}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tables:
    """Rows by their UUID; sets are lists, maps are dicts, an absent value is None."""

    bridges: Mapping[str, Row]
    ports: Mapping[str, Row]
    interfaces: Mapping[str, Row]


def read(path: Path) -> Tables:
    """Give the tables; Script_error when the switch is not running."""
    operations: list[object] = [
        {"op": "select", "table": table, "where": [], "columns": ["_uuid", *columns]}
        for table, columns in _COLUMNS.items()
    ]
    answer = _call(path, "transact", ["Open_vSwitch", *operations])
    bridges, ports, interfaces = (_rows(part["rows"]) for part in answer)
    return Tables(bridges, ports, interfaces)


def _call(path: Path, method: str, params: list[object]) -> Any:
    request = json.dumps({"method": method, "params": params, "id": 1}).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(request)
            return _result(connection)
    except OSError as problem:
        raise errors.script_error(f"Open vSwitch does not answer: {problem}") from problem


def _result(connection: socket.socket) -> Any:
    data = b""
    while True:
        piece = connection.recv(1 << 20)
        if not piece:
            raise ConnectionError("the database closed the connection")
        data += piece
        if data.rstrip()[-1:] != b"}":
            continue
        try:
            message = json.loads(data)
        except ValueError:
            continue
        if message.get("error"):
            raise errors.script_error(f"Open vSwitch: {message['error']}")
        return message["result"]


def _rows(rows: list[dict[str, Any]]) -> dict[str, Row]:
    return {row["_uuid"][1]: {k: _value(v, k) for k, v in row.items()} for row in rows}


_SETS: Final = frozenset(("ports", "interfaces"))


def _value(value: Any, column: str) -> Any:
    match value:
        case ["map", pairs]:
            return dict(pairs)
        case ["set", members]:
            found = [_value(m, "") for m in members]
            return found if column in _SETS else (found[0] if found else None)
        case ["uuid", uuid]:
            return [uuid] if column in _SETS else uuid
    return value
