"""Where things are in xenstore, and who may see them; pure."""

from typing import Final

DOM0_ONLY: Final = ("n0",)


def readable_by(domid: int) -> tuple[str, ...]:
    """Permissions of what a domain may read and only we may change."""
    return ("n0", f"r{domid}")


def owned_by(domid: int) -> tuple[str, ...]:
    """Permissions of what a domain may change; we may do everything anyway."""
    return (f"n{domid}",)


def home(domid: int) -> str:
    """Give a domain's own tree."""
    return f"/local/domain/{domid}"


def frontend(domid: int, kind: str, devid: int) -> str:
    """Give the guest's side of a device."""
    return f"{home(domid)}/device/{kind}/{devid}"


def backend_path(backend_domid: int, kind: str, domid: int, devid: int) -> str:
    """Give the serving side of a device."""
    return f"{home(backend_domid)}/backend/{kind}/{domid}/{devid}"


def mirror(domid: int) -> str:
    """Give the tree of what we know to exist of a domain; guests do not see it."""
    return f"/xenops/domain/{domid}"


def libxl(domid: int) -> str:
    """Give the tree that Xen's own tools look at."""
    return f"/libxl/{domid}"


def emulator(domid: int) -> str:
    """Give the tree in which a domain's QEMU tells its state."""
    return f"{home(0)}/device-model/{domid}"


def vm_tree(uuid: str) -> str:
    """Give the tree of a VM, the same for all its domains."""
    return f"/vm/{uuid}"


def private(uuid: str) -> str:
    """Give the tree of what only the control domain needs to know of a VM."""
    return f"/xapi/{uuid}"
