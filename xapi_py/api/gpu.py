"""Messages of classes PCI, PGPU and GPU_group.

The rules on types, groups and capacity are those of real cards; simulated
hosts have cards only where their records were imported.
"""

from collections.abc import Callable, Iterable, Mapping

from xapi_py.api.call import Call
from xapi_py.api.device_groups import empty_group
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row

_HIDE = {"enable_on_reboot": "disabled", "enabled": "disable_on_reboot"}
_SHOW = {"disable_on_reboot": "enabled", "disabled": "enable_on_reboot"}


@message("PGPU.add_enabled_VGPU_types")
def add_enabled_vgpu_types(call: Call, self: Ref, value: Ref) -> None:
    """Allow one more type on a card.  Errors: VGPU_TYPE_NOT_SUPPORTED."""
    row = call.db.row("PGPU", self)
    set_enabled_vgpu_types(call, self, (*row.enabled_VGPU_types, value))


@message("PGPU.remove_enabled_VGPU_types")
def remove_enabled_vgpu_types(call: Call, self: Ref, value: Ref) -> None:
    """Allow one type less on a card.  Errors: PGPU_IN_USE_BY_VM."""
    row = call.db.row("PGPU", self)
    set_enabled_vgpu_types(call, self, tuple(t for t in row.enabled_VGPU_types if t != value))


@message("PGPU.set_enabled_VGPU_types")
def set_enabled_vgpu_types(call: Call, self: Ref, value: tuple[Ref, ...]) -> None:
    """Allow exactly these types on a card.

    Errors: VGPU_TYPE_NOT_SUPPORTED; PGPU_IN_USE_BY_VM while a guest has one of
    a type that goes.
    """
    row = call.db.row("PGPU", self)
    for kind in value:
        if kind not in row.supported_VGPU_types:
            raise err.VGPU_TYPE_NOT_SUPPORTED(kind, ",".join(row.supported_VGPU_types))
    residents = [call.db.row("VGPU", ref) for ref in row.resident_VGPUs]
    users = [vgpu.VM for vgpu in residents if vgpu.type not in value]
    if users:
        raise err.PGPU_IN_USE_BY_VM(*users)
    with call.db.transaction() as tx:
        tx.set("PGPU", self, "enabled_VGPU_types", tuple(dict.fromkeys(value)))
        _offer_of_group(call, row.GPU_group)


@message("PGPU.set_GPU_group")
def set_gpu_group(call: Call, self: Ref, value: Ref) -> None:
    """Put a card into another group.

    Errors: PGPU_IN_USE_BY_VM; PGPU_NOT_COMPATIBLE_WITH_GPU_GROUP for a group
    of other cards.
    """
    row = call.db.row("PGPU", self)
    group = call.db.row("GPU_group", value)
    users = [call.db.row("VGPU", ref).VM for ref in row.resident_VGPUs]
    if users:
        raise err.PGPU_IN_USE_BY_VM(*users)
    kind = _card_type(call, row)
    if group.GPU_types and kind not in group.GPU_types:
        raise err.PGPU_NOT_COMPATIBLE_WITH_GPU_GROUP(kind, ",".join(group.GPU_types))
    old = row.GPU_group
    with call.db.transaction() as tx:
        tx.set("PGPU", self, "GPU_group", value)
        tx.set("GPU_group", value, "GPU_types", (kind,))
        _offer_of_group(call, old)
        _offer_of_group(call, value)


def _card_type(call: Call, card: Row) -> str:
    pci = call.db.row("PCI", card.PCI)
    return f"{pci.vendor_id}/{pci.device_id}"


def _offer_of_group(call: Call, group: Ref) -> None:
    """Write the types a group's cards support and allow."""
    row = call.db.find("GPU_group", group)
    if row is None:
        return
    cards = [call.db.row("PGPU", ref) for ref in row.PGPUs]
    with call.db.transaction() as tx:
        tx.update(
            "GPU_group",
            group,
            supported_VGPU_types=_union(card.supported_VGPU_types for card in cards),
            enabled_VGPU_types=_union(card.enabled_VGPU_types for card in cards),
        )


def _union(sets: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ref for one in sets for ref in one))


@message("PGPU.get_remaining_capacity")
def get_remaining_capacity(call: Call, self: Ref, vgpu_type: Ref) -> int:
    """Give how many more of a type fit on a card: none when other types are on it."""
    return _remaining(call, call.db.row("PGPU", self), call.db.row("VGPU_type", vgpu_type))


def _remaining(call: Call, card: Row, kind: Row) -> int:
    if kind.ref not in card.enabled_VGPU_types:
        return 0
    residents = [call.db.row("VGPU", ref) for ref in card.resident_VGPUs]
    if any(vgpu.type != kind.ref for vgpu in residents):
        return 0
    most = card.supported_VGPU_max_capacities.get(kind.ref, 1)
    return max(0, int(most) - len(residents))


@message("PGPU.enable_dom0_access")
def enable_pgpu_dom0_access(call: Call, self: Ref) -> str:
    """Let the host itself use a card, from its next boot."""
    return _access(call, "PGPU", self, _SHOW)


@message("PGPU.disable_dom0_access")
def disable_pgpu_dom0_access(call: Call, self: Ref) -> str:
    """Keep a card for guests, from the host's next boot."""
    return _access(call, "PGPU", self, _HIDE)


def _access(call: Call, cls: str, ref: Ref, moves: Mapping[str, str]) -> str:
    now = str(call.db.row(cls, ref).dom0_access)
    after = moves.get(now, now)
    with call.db.transaction() as tx:
        tx.set(cls, ref, "dom0_access", after)
    return after


@message("PCI.enable_dom0_access")
def enable_pci_dom0_access(call: Call, self: Ref) -> str:
    """Let the host itself use a device, from its next boot."""
    return _of_card(call, self, lambda card: enable_pgpu_dom0_access(call, card))


@message("PCI.disable_dom0_access")
def disable_pci_dom0_access(call: Call, self: Ref) -> str:
    """Keep a device for guests, from the host's next boot."""
    return _of_card(call, self, lambda card: disable_pgpu_dom0_access(call, card))


@message("PCI.get_dom0_access_status")
def get_dom0_access_status(call: Call, self: Ref) -> str:
    """Tell whether the host itself uses a device."""
    return _of_card(call, self, lambda card: str(call.db.row("PGPU", card).dom0_access))


def _of_card(call: Call, pci: Ref, do: Callable[[Ref], str]) -> str:
    """Do it on the card a device is; other devices belong to the host."""
    call.db.row("PCI", pci)
    for card in call.db.rows("PGPU"):
        if pci == card.PCI:
            return do(Ref(card.ref))
    return "enabled"


@message("GPU_group.create")
def create(
    call: Call,
    name_label: str = "",
    name_description: str = "",
    other_config: Mapping[str, str] | None = None,
) -> Ref:
    """Make an empty group."""
    return empty_group(call, "GPU_group", name_label, name_description, other_config or {})


@message("GPU_group.destroy")
def destroy(call: Call, self: Ref) -> None:
    """Remove a group.  Errors: GPU_GROUP_CONTAINS_PGPU, GPU_GROUP_CONTAINS_VGPU."""
    row = call.db.row("GPU_group", self)
    if len(row.PGPUs):
        raise err.GPU_GROUP_CONTAINS_PGPU(*row.PGPUs)
    if len(row.VGPUs):
        raise err.GPU_GROUP_CONTAINS_VGPU(*row.VGPUs)
    with call.db.transaction() as tx:
        tx.delete("GPU_group", self)


@message("GPU_group.update_enabled_VGPU_types")
def update_enabled_vgpu_types(call: Call, self: Ref) -> None:
    """Write what the group's cards allow."""
    call.db.row("GPU_group", self)
    _offer_of_group(call, self)


@message("GPU_group.update_supported_VGPU_types")
def update_supported_vgpu_types(call: Call, self: Ref) -> None:
    """Write what the group's cards support."""
    call.db.row("GPU_group", self)
    _offer_of_group(call, self)


@message("GPU_group.get_remaining_capacity")
def get_group_remaining_capacity(call: Call, self: Ref, vgpu_type: Ref) -> int:
    """Give how many more of a type fit on the group's cards."""
    row = call.db.row("GPU_group", self)
    kind = call.db.row("VGPU_type", vgpu_type)
    return sum(_remaining(call, call.db.row("PGPU", ref), kind) for ref in row.PGPUs)
