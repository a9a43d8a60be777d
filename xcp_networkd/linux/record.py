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
    PortConfig,
    RemovePort,
    SetBridge,
    SetRoles,
    Step,
    VifLock,
    VifPort,
)
from xcp_networkd.linux.host import boot_id


class Record:
    """The last applied configuration of this start of the machine.

    ``vifs`` are the devices of virtual machines with their rules, by name.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._boot = boot_id()
        self.state = NetworkState()
        self.vifs: dict[str, VifPort] = {}
        kept: Mapping[str, Any] = state_file.read(file) or {}
        if kept.get("boot") == self._boot:
            self.state = codec.state_from_wire(kept["state"])
            self.vifs = {name: codec.vif(name, **vif) for name, vif in kept.get("vifs", {}).items()}

    def save(self) -> None:
        """Keep it for the next process."""
        vifs = {name: codec.vif_to_wire(vif) for name, vif in self.vifs.items()}
        kept = {"boot": self._boot, "state": codec.state_to_wire(self.state), "vifs": vifs}
        state_file.write(self._file, kept, durable=False)

    def note(self, step: Step) -> None:
        """Take over a step that was carried out."""
        self.state = noted(self.state, step)

    def note_lock(self, name: str, lock: VifLock) -> None:
        """Take over the rules of a virtual machine's device."""
        self.vifs[name] = replace(self.vifs.get(name, VifPort(name, lock)), lock=lock)

    def note_vif(self, bridge: str, vif: VifPort) -> None:
        """Take over a virtual machine's device that was put into a bridge."""
        self.forget_vif(vif.name)
        self.note(AddPort(bridge, vif.name, PortConfig((vif.name,), kind="vif")))
        self.vifs[vif.name] = vif

    def forget_vif(self, name: str) -> None:
        """Take over that a device is in no bridge any more."""
        for bridge, config in self.state.bridges.items():
            if name in config.ports:
                self.note(RemovePort(bridge, name))
        self.vifs.pop(name, None)


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
