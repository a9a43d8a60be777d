"""What was last applied, for the members that the system cannot tell.

The system is the truth: a member that it shows and that differs from what the record
would give is taken from the system, so that a difference becomes a step.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xcp_networkd import codec, state_file
from xcp_networkd.contract import (
    AddPort,
    BridgeConfig,
    ConfigureInterface,
    CreateBridge,
    DestroyBridge,
    NetworkState,
    RemovePort,
    SetBridge,
    SetRoles,
    Step,
)
from xcp_networkd.linux.host import boot_id


class Record:
    """The last applied configuration of this start of the machine."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._boot = boot_id()
        self.state = NetworkState()
        kept: Mapping[str, Any] = state_file.read(file) or {}
        if kept.get("boot") == self._boot:
            self.state = codec.state_from_wire(kept["state"])

    def save(self) -> None:
        """Keep it for the next process."""
        kept = {"boot": self._boot, "state": codec.state_to_wire(self.state)}
        state_file.write(self._file, kept, durable=False)

    def note(self, step: Step) -> None:
        """Take over a step that was carried out."""
        self.state = noted(self.state, step)


def noted(state: NetworkState, step: Step) -> NetworkState:
    """The state after a step."""
    bridges, interfaces = dict(state.bridges), dict(state.interfaces)
    match step:
        case DestroyBridge(bridge):
            bridges.pop(bridge, None)
            interfaces.pop(bridge, None)
        case CreateBridge(bridge, config):
            bridges[bridge] = replace(config, ports={})
            interfaces.pop(bridge, None)
        case SetBridge(bridge, config):
            old = bridges.get(bridge, BridgeConfig())
            bridges[bridge] = replace(config, ports=old.ports)
        case AddPort(bridge, port, port_config):
            old = bridges.get(bridge, BridgeConfig())
            bridges[bridge] = replace(old, ports={**old.ports, port: port_config})
        case RemovePort(bridge, port):
            old = bridges.get(bridge, BridgeConfig())
            ports = {k: v for k, v in old.ports.items() if k != port}
            bridges[bridge] = replace(old, ports=ports)
        case ConfigureInterface(interface, interface_config):
            interfaces[interface] = interface_config
        case SetRoles(gateway_interface, dns_interface):
            return replace(state, gateway_interface=gateway_interface, dns_interface=dns_interface)
    return replace(state, bridges=bridges, interfaces=interfaces)
