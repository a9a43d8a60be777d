"""Loading a guest into an empty domain: libxenguest's functions in their order.

Runs in a process of its own: the library reads what a guest may have made, and
cannot be interrupted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xenops.bindings import acpi
from xenops.bindings.errors import XenError
from xenops.bindings.interface import HvmParam
from xenops.bindings.xen import Xen

MIB: Final = 1 << 20
GIB4: Final = 1 << 32
_MMIO_BYTES_WITH_DEVICES: Final = 0x10000000
_RAM, _RESERVED, _ACPI_TABLES = 1, 2, 3
_LOW_MEMORY_WITH_DEVICES: Final = 0x100000


@dataclass(frozen=True, slots=True)
class Image:
    """What to load, and how large the guest is.

    ``kind`` is pv, pvh or hvm; for hvm ``kernel`` is hvmloader and ``firmware``
    the BIOS it starts.  ``target_mib`` less than ``max_mib`` leaves memory to be
    had later.
    """

    kind: str
    kernel: str
    cmdline: str
    ramdisk: str
    firmware: str
    max_mib: int
    target_mib: int
    vcpus: int
    vcpus_online: int
    store_port: int
    console_port: int
    features: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the guest's pages for xenstore and console are: frame numbers."""

    store_mfn: int
    console_mfn: int


class Builder:
    """Loads guests."""

    def __init__(self, xen: Xen) -> None:
        self._xen = xen
        self._lib = xen.lib
        self._ffi = xen.ffi
        self._keep: list[Any] = []

    def build(self, domid: int, image: Image) -> Loaded:
        """Load a guest.  Errors: XenError with the library's own words."""
        lib, ffi = self._lib, self._ffi
        lib.xc_dom_loginit(self._xen.handle)
        cmdline = image.cmdline.encode("utf-8", "surrogateescape")
        dom = lib.xc_dom_allocate(self._xen.handle, cmdline, image.features.encode() or ffi.NULL)
        if dom == ffi.NULL:
            raise XenError("xc_dom_allocate", ffi.errno, self._xen.last_error())
        try:
            self._describe(dom, image)
            return self._load(dom, domid, image)
        finally:
            lib.xc_dom_release(dom)
            self._keep.clear()

    def _describe(self, dom: Any, image: Image) -> None:
        lib = self._lib
        pv = image.kind == "pv"
        dom.container_type = lib.XC_DOM_PV_CONTAINER if pv else lib.XC_DOM_HVM_CONTAINER
        dom.xenstore_evtchn, dom.console_evtchn = image.store_port, image.console_port
        dom.xenstore_domid = dom.console_domid = 0
        dom.max_vcpus = image.vcpus
        dom.flags = 0
        self._step("xc_dom_kernel_file", dom, image.kernel.encode())
        if image.ramdisk:
            self._step("xc_dom_module_file", dom, image.ramdisk.encode(), self._ffi.NULL)
        if not pv:
            self._place(dom, image)
        if image.kind == "hvm":
            self._module(dom.system_firmware_module, Path(image.firmware).read_bytes())

    def _place(self, dom: Any, image: Image) -> None:
        devices = image.kind == "hvm"
        size = image.max_mib * MIB
        dom.device_model = devices
        dom.target_pages = image.target_mib * 256
        if devices:
            hole = _MMIO_BYTES_WITH_DEVICES
        else:
            special = self._lib.X86_HVM_END_SPECIAL_REGION - self._lib.X86_HVM_NR_SPECIAL_PAGES
            hole = GIB4 - min(special << 12, acpi.LOCAL_APIC, acpi.RSDP_ADDRESS)
        start = GIB4 - hole
        dom.mmio_size, dom.mmio_start = hole, start
        dom.lowmem_end = min(size, start)
        dom.highmem_end = GIB4 + size - start if size > start else 0

    def _load(self, dom: Any, domid: int, image: Image) -> Loaded:
        self._step("xc_dom_boot_xen_init", dom, self._xen.handle, domid)
        self._step("xc_dom_parse_image", dom)
        mib = image.target_mib if image.kind == "pv" else image.max_mib
        self._step("xc_dom_mem_init", dom, mib)
        self._step("xc_dom_boot_mem_init", dom)
        if image.kind == "pvh":
            self._tables(dom, image)
        if image.kind != "pv":
            self._memory_map(dom, domid, image)
        self._step("xc_dom_build_image", dom)
        self._step("xc_dom_boot_image", dom)
        self._step("xc_dom_gnttab_init", dom)
        if image.kind == "pv":
            p2m = self._lib.xc_dom_p2m
            return Loaded(int(p2m(dom, dom.xenstore_pfn)), int(p2m(dom, dom.console_pfn)))
        self._xen.set_hvm_param(domid, HvmParam.STORE_EVTCHN, image.store_port)
        self._xen.set_hvm_param(domid, HvmParam.CONSOLE_EVTCHN, image.console_port)
        if image.kind == "hvm":
            self._processors(domid, image)
        return Loaded(int(dom.xenstore_pfn), int(dom.console_pfn))

    def _tables(self, dom: Any, image: Image) -> None:
        self._module(dom.acpi_modules[0], acpi.root_pointer(), acpi.RSDP_ADDRESS)
        self._module(dom.acpi_modules[1], acpi.tables(image.vcpus), acpi.TABLES_ADDRESS)

    def _memory_map(self, dom: Any, domid: int, image: Image) -> None:
        lib = self._lib
        low = _LOW_MEMORY_WITH_DEVICES if image.kind == "hvm" else 0
        ranges = [(low, dom.lowmem_end - low, _RAM)]
        if image.kind == "pvh":
            special = (lib.X86_HVM_END_SPECIAL_REGION - lib.X86_HVM_NR_SPECIAL_PAGES) << 12
            size = -(-len(acpi.tables(image.vcpus)) // 4096) * 4096 + 0x1000
            ranges.append((acpi.RSDP_ADDRESS, size, _ACPI_TABLES))
            ranges.append((special, lib.X86_HVM_NR_SPECIAL_PAGES << 12, _RESERVED))
        if dom.highmem_end:
            ranges.append((GIB4, dom.highmem_end - GIB4, _RAM))
        size = self._ffi.sizeof("struct e820entry") * len(ranges)
        # The library frees what its own allocator gave together with the image.
        entries = self._ffi.cast("struct e820entry *", lib.xc_dom_malloc(dom, size))
        for entry, (address, length, kind) in enumerate(ranges):
            entries[entry].addr, entries[entry].size, entries[entry].type = address, length, kind
        dom.e820, dom.e820_entries = entries, len(ranges)
        answer = lib.xc_domain_set_memory_map(self._xen.handle, domid, entries, len(ranges))
        self._xen.check(answer, "xc_domain_set_memory_map")

    def _module(self, module: Any, content: bytes, address: int = 0) -> None:
        data = self._ffi.new("uint8_t[]", content)
        self._keep.append(data)
        module.data, module.length, module.guest_addr_out = data, len(content), address

    def _processors(self, domid: int, image: Image) -> None:
        online = ((1 << image.vcpus_online) - 1).to_bytes(-(-image.vcpus // 8), "little")
        answer = self._lib.write_hvm_info(
            self._xen.handle, domid, True, image.vcpus, online, len(online)
        )
        self._xen.check(answer, "hvm_info")

    def _step(self, function: str, *arguments: object) -> None:
        call: Callable[..., int] = getattr(self._lib, function)
        if call(*arguments) != 0:
            number, text = self._ffi.errno, self._xen.last_error()
            raise XenError(function, 0 if text else number, text)  # words say more than errno


def image_from(request: Mapping[str, Any]) -> Image:
    """Read an image from what travels between processes."""
    return Image(**request)
