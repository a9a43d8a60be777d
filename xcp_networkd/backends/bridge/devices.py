"""Steps on bridges, VLAN devices and bonds, each asking the kernel for no more than it needs."""

import errno

from xcp_networkd import errors
from xcp_networkd.backends.bridge import bonding, observe
from xcp_networkd.contract import BridgeConfig, PortConfig
from xcp_networkd.linux.interfaces import InterfaceSetup
from xcp_networkd.netlink import codec
from xcp_networkd.netlink.codec import Device, Value
from xcp_networkd.netlink.kernel import Kernel, KernelError, ignoring


def marked(device: Device) -> bool:
    """Whether this daemon made a device."""
    return device.alias.split(" ", 1)[0] == observe.MARK


class BridgeDevices:
    """Make, change and remove the kernel's devices.

    Errors: RpcError as the contract names them, KernelError for what the kernel refuses.
    """

    def __init__(self, kernel: Kernel, setup: InterfaceSetup) -> None:
        self._kernel = kernel
        self._setup = setup

    def device(self, name: str, *, bridge: bool = False) -> Device:
        found = self._kernel.device(name)
        if found is None or (bridge and found.info != "bridge"):
            raise errors.no_bridge(name) if bridge else errors.no_interface(name)
        return found

    def _uplink(self, parent: Device) -> Device | None:
        ports = list(self._kernel.devices(master=parent.index).values())
        return observe.uplink(parent, {parent.index: ports})

    def create(self, name: str, config: BridgeConfig) -> None:
        if config.vlan is not None:
            self.device(config.vlan[0], bridge=True)
        data: dict[int, Value] = {codec.BRIDGE_FORWARD_DELAY: 0, codec.BRIDGE_STP: 0}
        try:
            self._kernel.add_link(name, "bridge", {codec.IFLA_LINKINFO: data})
        except KernelError as problem:
            if problem.errno != errno.EEXIST:
                raise
            if self.device(name).info != "bridge":
                raise errors.script_error(f"{name} is there and is no bridge") from problem
        self.set_bridge(name, config)
        if config.vlan is not None:
            self._attach_vlan(name, *config.vlan)

    def set_bridge(self, name: str, config: BridgeConfig) -> None:
        snooping = int(bool(config.igmp_snooping)).to_bytes(1, "little")
        self._kernel.set_data(name, "bridge", {codec.BRIDGE_SNOOPING: snooping})
        values: dict[int, Value] = {codec.IFLA_IFALIAS: observe.alias(config.vlan).encode()}
        if config.bridge_mac:
            values[codec.IFLA_ADDRESS] = bytes.fromhex(config.bridge_mac.replace(":", ""))
        self._kernel.set_link(name, values, up=True)

    def _attach_vlan(self, bridge: str, parent: str, tag: int) -> None:
        """Make the VLAN device of a bridge on its parent's uplink, if that has one."""
        above = self._uplink(self.device(parent, bridge=True))
        if above is None:
            return
        name = f"{above.name}.{tag}"
        name = name if len(name) <= 15 else f"v{above.index}.{tag}"
        master = self.device(bridge).index
        old = self._kernel.device(name)
        vlans = self._kernel.devices(info="vlan")
        for other in (vlans if old is None else {**vlans, name: old}).values():
            same = other.info == "vlan" and other.lower == above.index
            taken = other.name == name or (same and other.number(codec.VLAN_ID) == tag)
            if taken and not (same and other.master == master and other.name == name):
                raise errors.vlan_in_use(above.name, tag)
        if old is None:
            data: dict[int, Value] = {codec.VLAN_ID: tag.to_bytes(2, "little")}
            self._kernel.add_link(
                name, "vlan", {codec.IFLA_LINK: above.index, codec.IFLA_LINKINFO: data}
            )
        alias = observe.alias(None).encode()
        try:
            values: dict[int, Value] = {codec.IFLA_MASTER: master, codec.IFLA_IFALIAS: alias}
            self._kernel.set_link(name, values, up=True)
        except KernelError:
            self._kernel.delete_link(name)
            raise

    def destroy(self, name: str) -> None:
        """Remove a bridge if it is there; its NICs are free then."""
        bridge = self._kernel.device(name)
        if bridge is None or bridge.info != "bridge":
            return
        self._setup.forget(name)
        for port in self._kernel.devices(master=bridge.index).values():
            self._release(port)
        self._kernel.delete_link(name)

    def _release(self, port: Device) -> None:
        """Take a port out of its bridge; what was made for the bridge goes."""
        if port.info != "vlan":
            for other in self._kernel.devices(info="vlan").values():
                if other.lower == port.index and marked(other):
                    self._kernel.delete_link(other.name)
        if port.info in ("vlan", "bond") and marked(port):
            self._kernel.delete_link(port.name)
        else:
            self._kernel.set_link(port.name, {codec.IFLA_MASTER: 0})

    def remove_port(self, bridge: str, port: str, config: PortConfig | None) -> None:
        """Take a port out of its bridge if it is there; ``config`` is what it was made from."""
        master = self.device(bridge, bridge=True).index
        names = {port, *config.interfaces} if config and len(config.interfaces) == 1 else {port}
        for name in sorted(names):
            device = self._kernel.device(name)
            if device is not None and device.master == master:
                self._release(device)

    def add_port(self, bridge: str, port: str, config: PortConfig) -> None:
        master = self.device(bridge, bridge=True)
        bond = self._kernel.device(port)
        owners = {0, master.index} | ({bond.index} if bond is not None else set())
        for interface in config.interfaces:
            if self.device(interface).master not in owners:
                raise errors.script_error(f"{interface} is a port of another device")
        name = config.interfaces[0]
        if len(config.interfaces) > 1:
            self._make_bond(port, config)
            name = port
        elif config.kind != "vif":
            self._setup.clear(name)
        self._kernel.set_link(name, {codec.IFLA_MASTER: master.index}, up=True)
        self._reattach_vlans(bridge)

    def add_vif(self, bridge: str, name: str, mtu: int) -> None:
        """Put a virtual machine's device into a bridge, out of any other, and bring it up."""
        values: dict[int, Value] = {codec.IFLA_MASTER: self.device(bridge, bridge=True).index}
        if mtu:
            values[codec.IFLA_MTU] = mtu
        self._kernel.set_link(name, values, up=True)

    def remove_vif(self, name: str) -> None:
        """Take a virtual machine's device out of its bridge; it may vanish meanwhile."""
        with ignoring(errno.ENODEV):
            self._kernel.set_link(name, {codec.IFLA_MASTER: 0})

    def _reattach_vlans(self, parent: str) -> None:
        """Put the VLANs of a bridge on its new uplink."""
        for name, device in self._kernel.devices(info="bridge").items():
            vlan = observe.vlan_of(device)
            if vlan is not None and vlan[0] == parent:
                self._attach_vlan(name, *vlan)

    def _make_bond(self, name: str, config: PortConfig) -> None:
        old = self._kernel.device(name)
        if old is not None:
            if old.info != "bond":
                raise errors.script_error(f"{name} is there and is no bond")
            self._kernel.delete_link(name)
        bonding.warn(name, config.bond_properties)
        data = bonding.attributes(config.bond_properties)
        try:
            self._kernel.add_link(name, "bond", {codec.IFLA_LINKINFO: data})
        except KernelError as problem:
            if problem.errno == errno.EOPNOTSUPP:
                raise errors.script_error("this kernel has no bonding driver") from problem
            raise
        try:
            self._fill_bond(name, config)
        except BaseException:
            self._kernel.delete_link(name)
            raise

    def _fill_bond(self, name: str, config: PortConfig) -> None:
        values: dict[int, Value] = {codec.IFLA_IFALIAS: observe.alias(None).encode()}
        if config.bond_mac:
            values[codec.IFLA_ADDRESS] = bytes.fromhex(config.bond_mac.replace(":", ""))
        self._kernel.set_link(name, values)
        index = self.device(name).index
        for member in config.interfaces:
            self._setup.clear(member)
            # The driver takes a member only while it is down and in no bridge.
            self._kernel.set_link(member, {codec.IFLA_MASTER: 0}, up=False)
            self._kernel.set_link(member, {codec.IFLA_MASTER: index})
            self._kernel.set_link(member, up=True)
        self._kernel.set_link(name, up=True)

    def follow_mtu(self, bridge: str, mtu: int) -> None:
        """A bridge's own VLAN device or bond, with its members, takes the bridge's MTU."""
        device = self.device(bridge)
        if device.info != "bridge":
            return
        for port in self._kernel.devices(master=device.index).values():
            if port.info in ("vlan", "bond") and marked(port) and port.mtu != mtu:
                with ignoring(errno.ERANGE, errno.EINVAL):
                    self._kernel.set_link(port.name, {codec.IFLA_MTU: mtu})
