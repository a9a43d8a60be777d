"""Virtual CPUs: setter checks, affinity masks and scheduler parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

from xapi_py.base.errors import ApiError
from xapi_py.datamodel import errors as err

COUNT_RULE = "VCPU values must satisfy: 0 < VCPUs_at_startup ≤ VCPUs_max"
WEIGHT_DEFAULT = 256
CAP_DEFAULT = 0


def counts_error(maximum: int, at_startup: int, changed: int) -> ApiError | None:
    """Check 0 < at_startup <= maximum; ``changed`` is the value being set.

    Errors: INVALID_VALUE with the rule as its field name.
    """
    if 0 < at_startup <= maximum:
        return None
    return err.INVALID_VALUE(COUNT_RULE, str(changed))


def cores_per_socket_error(maximum: int, platform: Mapping[str, str]) -> ApiError | None:
    """Check that VCPUs_max is a multiple of platform:cores-per-socket."""
    text = platform.get("cores-per-socket")
    if text is None:
        return None
    try:
        cores = int(text)
    except ValueError:
        return err.INVALID_VALUE("platform:cores-per-socket", text)
    if cores <= 0 or maximum % cores:
        return err.VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE(str(maximum), text)
    return None


def live_number_error(wanted: int, maximum: int) -> ApiError | None:
    """Check a hot-plug of vCPUs: between 1 and VCPUs_max."""
    if 1 <= wanted <= maximum:
        return None
    return err.INVALID_VALUE(COUNT_RULE, str(wanted))


def parse_mask(text: str) -> tuple[tuple[int, ...], ...]:
    """Read an affinity: ``1,2`` one mask for all, ``1,2;3`` mask n for vCPU n.

    Unreadable numbers are left out; an empty text gives no masks.
    """
    masks = []
    for part in text.split(";"):
        cpus = {int(item) for item in part.split(",") if item.strip().isdecimal()}
        if cpus or part.strip():
            masks.append(tuple(sorted(cpus)))
    return tuple(masks)


def affinity(
    vm_params: Mapping[str, str], host_params: Mapping[str, str], vcpus_max: int
) -> tuple[tuple[int, ...], ...]:
    """Give the hard affinity of each vCPU, () when none is asked for.

    vCPUs without an own mask take the first; a mask of the host restricts each
    (used alone when the VM has none).
    """
    own = parse_mask(vm_params.get("mask", ""))
    host = parse_mask(host_params.get("mask", ""))
    limit = frozenset(host[0]) if host else None
    if not own:
        return tuple(tuple(sorted(limit)) for _ in range(vcpus_max)) if limit else ()
    masks = [own[n] if n < len(own) else own[0] for n in range(vcpus_max)]
    if limit is not None:
        masks = [tuple(cpu for cpu in mask if cpu in limit) for mask in masks]
    return tuple(masks)


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Credit scheduler parameters of a domain."""

    weight: int
    cap: int


def scheduling(vm_params: Mapping[str, str]) -> Scheduling:
    """Read weight and cap from VCPUs_params; unreadable values give the defaults."""

    def number(key: str, default: int) -> int:
        try:
            return int(vm_params[key])
        except (KeyError, ValueError):
            return default

    return Scheduling(number("weight", WEIGHT_DEFAULT), number("cap", CAP_DEFAULT))
