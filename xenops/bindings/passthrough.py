"""Hypercalls that hand a PCI function, its ports, memory and interrupt to a domain."""

from collections.abc import Callable
from typing import Any


class Passthrough:
    """See ``PciHypercalls`` for what the methods promise."""

    def __init__(self, module: Any, handle: Any, check: Callable[[int, str], int]) -> None:
        self.lib = module.lib
        self.ffi = module.ffi
        self.handle = handle
        self.check = check

    def assign(self, domid: int, sbdf: int) -> None:
        flags = self.lib.XEN_DOMCTL_DEV_RDM_RELAXED
        answer = self.lib.xc_assign_device(self.handle, domid, sbdf, flags)
        self.check(answer, "xc_assign_device")

    def deassign(self, domid: int, sbdf: int) -> None:
        self.check(self.lib.xc_deassign_device(self.handle, domid, sbdf), "xc_deassign_device")

    def permit_ports(self, domid: int, first: int, count: int, allow: bool) -> None:
        answer = self.lib.xc_domain_ioport_permission(self.handle, domid, first, count, allow)
        self.check(answer, "xc_domain_ioport_permission")

    def permit_memory(self, domid: int, first: int, count: int, allow: bool) -> None:
        answer = self.lib.xc_domain_iomem_permission(self.handle, domid, first, count, allow)
        self.check(answer, "xc_domain_iomem_permission")

    def map_irq(self, domid: int, irq: int) -> int:
        pirq = self.ffi.new("int *", irq)
        answer = self.lib.xc_physdev_map_pirq(self.handle, domid, irq, pirq)
        self.check(answer, "xc_physdev_map_pirq")
        answer = self.lib.xc_domain_irq_permission(self.handle, domid, pirq[0], True)
        self.check(answer, "xc_domain_irq_permission")
        return int(pirq[0])

    def unmap_irq(self, domid: int, pirq: int) -> None:
        answer = self.lib.xc_domain_irq_permission(self.handle, domid, pirq, False)
        self.check(answer, "xc_domain_irq_permission")
        answer = self.lib.xc_physdev_unmap_pirq(self.handle, domid, pirq)
        self.check(answer, "xc_physdev_unmap_pirq")
