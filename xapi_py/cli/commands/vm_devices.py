"""Disks, CD drives and interfaces of VMs, and the records of single devices."""

from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF, Ref
from xapi_py.cli.context import Context
from xapi_py.cli.field_commands import print_rows
from xapi_py.cli.multiple import for_each
from xapi_py.cli.parsing import parse_size, parse_value
from xapi_py.cli.plain_commands import constructor_record
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.cli.selecting import select
from xapi_py.datamodel.model import EnumOf

VBD_SHOWN = ("uuid", "vm-name-label", "userdevice")
CD_SHOWN = (*VBD_SHOWN, "empty")
VDI_SHOWN = ("uuid", "name-label", "sr-name-label", "virtual-size")
VIF_SHOWN = ("name", "mac", "network-name-label", "uuid", "device", "MAC", "network-uuid")


@command("vm-disk-list", "vm-cd-list", "snapshot-disk-list")
async def list_disks(context: Context) -> None:
    """List each drive of the selected VMs and what is in it."""
    cd = context.command.name == "vm-cd-list"
    if context.command.name == "snapshot-disk-list":
        from_words = context.words.get("snapshot-uuid") or context.words.get("uuid")
        rows = [context.record("VM", context.by_uuid("VM", from_words))]
    else:
        rows = await select(context, "vm", templates=True, control_domains=True)

    async def one(row: Any) -> None:
        kind, name = ("CD", "CD") if cd else ("Disk", "Disk")
        drives = [v for v in _drives(context, row) if v.type == kind]
        for number, vbd in enumerate(drives):
            context.printer.message(f"{name} {number} VBD:")
            await _show(context, "vbd", vbd, CD_SHOWN if cd else VBD_SHOWN)
            if not vbd.empty:
                context.printer.message(f"{name} {number} VDI:")
                vdi = context.record("VDI", vbd.VDI)
                await _show(context, "vdi", vdi, VDI_SHOWN)

    await for_each(context, rows, one)


async def _show(context: Context, prefix: str, row: Any, usual: tuple[str, ...]) -> None:
    parameter = f"{prefix}-params"
    record = context.tables.records[prefix]
    if not context.words.has(parameter):
        context.words.pairs.append((parameter, ",".join(usual)))
    await print_rows(context, record, [row], parameter)


def _drives(context: Context, row: Any) -> list[Any]:
    drives = [context.record("VBD", ref) for ref in row.VBDs]
    return sorted(drives, key=lambda v: int(v.userdevice) if v.userdevice.isdecimal() else 0)


@command("vm-vif-list")
async def list_interfaces(context: Context) -> None:
    """List the virtual interfaces of VMs."""
    rows = await select(context, "vm", templates=True, control_domains=True)
    if not context.words.has("params"):
        context.words.pairs.append(("params", ",".join(VIF_SHOWN)))

    async def one(row: Any) -> None:
        vifs = [context.record("VIF", ref) for ref in row.VIFs]
        await print_rows(context, context.tables.records["vif"], vifs, "params")

    await for_each(context, rows, one)


@command("vm-crashdump-list")
async def list_crashdumps(context: Context) -> None:
    """List the crash dumps of VMs; this server keeps none, so there are none to show."""

    async def one(row: Any) -> None:
        dumps = [context.record("crashdump", ref) for ref in row.crash_dumps]
        context.printer.table([[("uuid ( RO)", d.uuid)] for d in dumps])

    await for_each(context, await select(context, "vm"), one)


@command("vm-disk-add")
async def add_disk(context: Context) -> None:
    """Make a disk and give it to the VMs."""
    words = context.words
    size = parse_size("disk-size", words.need("disk-size"))
    sr = default_sr(context)

    async def one(row: Any) -> None:
        record = constructor_record(
            context,
            "VDI",
            name_label="Created by xe",
            SR=sr,
            virtual_size=size,
            type="user",
        )
        vdi = Ref(await context.api.call("VDI.create", record))
        try:
            await _add_drive(context, row, vdi, "Disk", {"owner": "true"})
        except ApiError:
            await context.api.call("VDI.destroy", vdi)
            raise

    await for_each(context, await select(context, "vm", templates=True), one)


def default_sr(context: Context) -> Ref:
    """Give the SR of ``sr-uuid``, else the pool's default.  Errors: CommandFailed."""
    if context.words.get("sr-uuid"):
        return context.by_uuid("SR", context.words.get("sr-uuid"))
    found = Ref(context.pool.default_SR)
    if context.uuid("SR", found).startswith("<"):
        raise CommandFailed("No SR specified and Pool default SR is null")
    return found


async def _add_drive(
    context: Context, row: Any, vdi: Ref, kind: str, other_config: dict[str, str]
) -> None:
    device = context.words.need("device")
    if device == "autodetect":
        device = _free_device(context, row.ref)
    record = constructor_record(
        context,
        "VBD",
        VM=row.ref,
        VDI=vdi,
        userdevice=device,
        bootable=False,
        mode="RO" if kind == "CD" else "RW",
        type=kind,
        unpluggable=True,
        empty=vdi == NULL_REF,
        other_config=other_config,
    )
    vbd = await context.api.call("VBD.create", record)
    if context.record("VM", row.ref).power_state == "Running":
        await context.api.call("VBD.plug", vbd)


def _free_device(context: Context, vm: Ref) -> str:
    free = context.api.read("VM.get_allowed_VBD_devices", vm)
    if not free:
        raise CommandFailed("No more VBDs can be attached to this VM")
    return str(free[0])


@command("vm-disk-remove")
async def remove_disk(context: Context) -> None:
    """Take a disk from VMs and delete it."""
    device = context.words.need("device")

    async def one(row: Any) -> None:
        found = [v for v in _drives(context, row) if v.type == "Disk" and v.userdevice == device]
        if not found:
            raise CommandFailed("Disk not found")
        vdi = found[0].VDI
        await context.api.call("VBD.destroy", found[0].ref)
        await context.api.call("VDI.destroy", vdi)

    await for_each(context, await select(context, "vm", templates=True), one)


def _media(context: Context) -> list[Any]:
    """Give the disks of all ISO libraries."""
    libraries = [sr for sr in context.records("SR") if sr.content_type == "iso"]
    return [context.record("VDI", vdi) for sr in libraries for vdi in sr.VDIs]


def _named_medium(context: Context) -> Ref:
    wanted = context.words.need("cd-name")
    found = [v for v in _media(context) if v.name_label == wanted]
    if not found:
        raise CommandFailed(f"CD {wanted} not found!")
    return Ref(found[0].ref)


@command("cd-list")
async def list_media(context: Context) -> None:
    """List CDs and ISO images."""
    if not context.words.has("params"):
        context.words.pairs.append(("params", "uuid,name-label"))
    await print_rows(context, context.tables.records["vdi"], _media(context), "params")


@command("vm-cd-add")
async def add_cd(context: Context) -> None:
    """Give VMs a CD drive with a medium."""
    vdi = _named_medium(context)

    async def one(row: Any) -> None:
        await _add_drive(context, row, vdi, "CD", {})

    await for_each(context, await select(context, "vm", templates=True), one)


def _cds(context: Context, row: Any) -> list[Any]:
    found = [v for v in _drives(context, row) if v.type == "CD"]
    if not found:
        raise CommandFailed("No CDs found.")
    return found


@command("vm-cd-insert")
async def insert_cd(context: Context) -> None:
    """Put a medium into the empty CD drive of VMs."""
    vdi = _named_medium(context)

    async def one(row: Any) -> None:
        empty = [v for v in _cds(context, row) if v.empty]
        if not empty:
            raise CommandFailed("No empty CD drive found")
        await context.api.call("VBD.insert", empty[0].ref, vdi)

    await for_each(context, await select(context, "vm", templates=True), one)


@command("vm-cd-eject")
async def eject_cd(context: Context) -> None:
    """Take the medium out of the CD drive of VMs."""

    async def one(row: Any) -> None:
        found = _cds(context, row)
        if len(found) > 1:
            raise CommandFailed("Two or more CDs found. Please use vbd-eject")
        await context.api.call("VBD.eject", found[0].ref)

    await for_each(context, await select(context, "vm", templates=True), one)


@command("vm-cd-remove")
async def remove_cd(context: Context) -> None:
    """Take the CD drive with a medium from VMs."""
    wanted = context.words.need("cd-name")

    async def one(row: Any) -> None:
        for vbd in _cds(context, row):
            if not vbd.empty and context.name("VDI", vbd.VDI) == wanted:
                await context.api.call("VBD.destroy", vbd.ref)
                return
        raise CommandFailed(f"CD {wanted} not found!")

    await for_each(context, await select(context, "vm", templates=True), one)


@command("vbd-create")
async def create_vbd(context: Context) -> None:
    """Give a VM a disk, or an empty CD drive."""
    words = context.words
    vm = context.by_uuid("VM", words.need("vm-uuid"))
    kind = parse_value(context, "type", words.get("type", "Disk"), EnumOf("vbd_type"))
    mode = words.get("mode", "RO" if kind == "CD" else "RW")
    vdi = context.optional("VDI", "vdi-uuid")
    if vdi == NULL_REF and kind == "Disk":
        raise CommandFailed("A disk needs a vdi-uuid; only CD drives can be empty")
    device = words.need("device")
    record = constructor_record(
        context,
        "VBD",
        VM=vm,
        VDI=vdi,
        userdevice=_free_device(context, vm) if device == "autodetect" else device,
        bootable=words.flag("bootable"),
        mode=parse_value(context, "mode", mode, EnumOf("vbd_mode")),
        type=kind,
        unpluggable=words.flag("unpluggable", True),
        empty=vdi == NULL_REF,
    )
    ref = await context.api.call("VBD.create", record)
    context.printer.listing([context.uuid("VBD", ref)])


@command("vbd-unplug", "vif-unplug")
async def unplug(context: Context) -> None:
    """Unplug a device from a running VM; with force, whatever the guest says."""
    cls = "VBD" if context.command.name == "vbd-unplug" else "VIF"
    ref = context.by_uuid(cls, context.words.need("uuid"))
    way = "unplug_force" if context.words.flag("force") else "unplug"
    await context.api.call(f"{cls}.{way}", ref)


@command("vif-create")
async def create_vif(context: Context) -> None:
    """Give a VM an interface; the server makes the address if none is given."""
    words = context.words
    vm = context.by_uuid("VM", words.need("vm-uuid"))
    network = context.by_uuid("network", words.need("network-uuid"))
    device = words.need("device")
    if device == "autodetect":
        free = context.api.read("VM.get_allowed_VIF_devices", vm)
        if not free:
            raise CommandFailed("No more VIFs can be attached to this VM")
        device = free[0]
    mac = words.get("mac")
    record = constructor_record(
        context,
        "VIF",
        VM=vm,
        network=network,
        device=device,
        MAC="" if mac == "random" else mac,
        MTU=context.record("network", network).MTU,
    )
    ref = await context.api.call("VIF.create", record)
    context.printer.listing([context.uuid("VIF", ref)])


@command("vgpu-create")
async def create_vgpu(context: Context) -> None:
    """Give a VM a virtual GPU."""
    words = context.words
    vm = context.by_uuid("VM", words.need("vm-uuid"))
    group = context.by_uuid("GPU_group", words.need("gpu-group-uuid"))
    kind = context.optional("VGPU_type", "vgpu-type-uuid")
    ref = await context.api.call("VGPU.create", vm, group, words.get("device", "0"), {}, kind)
    context.printer.listing([context.uuid("VGPU", ref)])


@command("vtpm-create")
async def create_vtpm(context: Context) -> None:
    """Give a VM a virtual TPM."""
    words = context.words
    vm = context.by_uuid("VM", words.need("vm-uuid"))
    unique = words.flag("is-unique", words.flag("is_unique"))
    ref = await context.api.call("VTPM.create", vm, unique)
    context.printer.listing([context.uuid("VTPM", ref)])
