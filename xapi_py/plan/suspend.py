"""Suspend: where the image goes and how big it is."""

from collections.abc import Iterable

from xapi_py.base.names import NULL_REF
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row
from xapi_py.db.view import View
from xapi_py.plan.placement import sr_reachable

IMAGE_SLACK_BYTES = 104857600


def image_size_bytes(static_max: int, framebuffers: Iterable[int] = ()) -> int:
    """Give the size of the suspend VDI: static_max * 1.2 * 1.05, vGPU frames and slack."""
    return int(static_max * 1.2 * 1.05) + sum(framebuffers) + IMAGE_SLACK_BYTES


def framebuffer_sizes(view: View, row: Row) -> tuple[int, ...]:
    """List the frame buffer sizes of the VM's virtual GPUs, bytes."""
    sizes = []
    for ref in row.VGPUs:
        vgpu = view.find("VGPU", ref)
        kind = view.find("VGPU_type", vgpu.type) if vgpu is not None else None
        if kind is not None:
            sizes.append(int(kind.framebuffer_size))
    return tuple(sizes)


def suspend_sr(view: View, row: Row, host: Row) -> str:
    """Choose the SR: the VM's, the host's, the pool's, else the default one.

    A choice that is set but dangling or not plugged on the host is passed
    over.  Errors: VM_NO_SUSPEND_SR.
    """
    pool = next(iter(view.rows("pool")))
    for ref in (row.suspend_SR, host.suspend_image_sr, pool.suspend_image_SR, pool.default_SR):
        if ref in ("", NULL_REF) or view.find("SR", ref) is None:
            continue
        if sr_reachable(view, ref, host.ref):
            return str(ref)
    raise err.VM_NO_SUSPEND_SR(row.ref)
