"""Virtual functions of cards: which carry a network, which are free, which VIF gets which.  Pure.

Source: brief NETWORK 10.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan import network_config


@dataclass(frozen=True, slots=True)
class Function:
    """What a VIF gets: a PCI record, and how its card is to set that function up.

    ``vlan`` is -1 for untagged traffic, ``rate_kib`` 0 without limit.
    """

    pci: str
    address: str
    mac: str
    vlan: int = -1
    rate_kib: int = 0


def offer(view: View, network: str, host: str) -> tuple[Row, int] | None:
    """Give the network_sriov that carries a network on a host, and the tag or -1.

    None for a network of bridges.
    """
    row = view.find("network", network)
    for ref in () if row is None else row.PIFs:
        pif = view.row("PIF", ref)
        logical = network_config.tagged_pif(view, pif) or pif
        if pif.host == host and len(logical.sriov_logical_PIF_of):
            (sriov,) = logical.sriov_logical_PIF_of
            return view.row("network_sriov", sriov), pif.VLAN
    return None


def free(view: View, sriov: Row, vm: str = NULL_REF) -> list[Row]:
    """List the functions that no other VM has or is about to get, in the order of addresses."""
    physical = view.find("PIF", sriov.physical_PIF)
    card = None if physical is None else view.find("PCI", physical.PCI)
    functions = [] if card is None else [view.row("PCI", ref) for ref in card.virtual_functions]
    ours = ("", NULL_REF, vm)
    found = [
        f
        for f in functions
        if f.scheduled_to_be_attached_to in ours and set(f.attached_VMs) <= {vm}
    ]
    return sorted(found, key=lambda f: str(f.pci_id))


def _wanted(view: View, vm: Row, host: str) -> Iterator[tuple[Row, Row, int]]:
    vifs = [view.row("VIF", ref) for ref in vm.VIFs]
    for vif in sorted(vifs, key=lambda v: (len(v.device), v.device)):
        found = offer(view, vif.network, host)
        if found is not None:
            yield vif, *found


def allocate(view: View, vm: Row, host: str) -> dict[str, Function]:
    """Choose a function for each VIF that needs one; the same records give the same choice.

    Errors: NETWORK_SRIOV_INSUFFICIENT_CAPACITY.
    """
    left: dict[str, list[Row]] = {}
    chosen: dict[str, Function] = {}
    for vif, sriov, tag in _wanted(view, vm, host):
        functions = left.setdefault(sriov.ref, free(view, sriov, vm.ref))
        if not functions:
            raise err.NETWORK_SRIOV_INSUFFICIENT_CAPACITY(vif.network)
        taken = functions.pop(0)
        limited = vif.qos_algorithm_type == "ratelimit"
        rate = vif.qos_algorithm_params.get("kbps", "") if limited else ""
        number = int(rate) if rate.isdecimal() else 0
        chosen[vif.ref] = Function(taken.ref, taken.pci_id, vif.MAC, tag, number)
    return chosen


def capacity_error(view: View, vm: Row, host: str) -> ApiError | None:
    """Tell why a host has no functions for a VM.  Errors: NETWORK_SRIOV_INSUFFICIENT_CAPACITY."""
    try:
        allocate(view, vm, host)
    except ApiError as problem:
        return problem
    return None


def kind_of_card(view: View, physical: Row) -> tuple[str, str]:
    """Give vendor and model of a NIC: guests move only between functions of the same."""
    metrics = view.find("PIF_metrics", physical.metrics)
    return ("", "") if metrics is None else (metrics.vendor_name, metrics.device_name)


def other_card(view: View, network: Row, physical: Row) -> bool:
    """Whether the functions on a network, or its VLANs on them, are of another kind of card."""
    for ref in network.PIFs:
        found = offer(view, network.ref, view.row("PIF", ref).host)
        card = None if found is None else view.find("PIF", found[0].physical_PIF)
        if card is not None and kind_of_card(view, card) != kind_of_card(view, physical):
            return True
    return False
