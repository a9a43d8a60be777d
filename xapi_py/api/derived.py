"""Fields that follow from others: allowed_operations of all classes, VM.memory_overhead."""

from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.db.derived import Derived
from xapi_py.plan import memory
from xapi_py.plan.operations.table import for_profile

_OVERHEAD_FIELDS = (
    "memory_static_max",
    "VCPUs_max",
    "HVM_shadow_multiplier",
    "HVM_boot_policy",
    "domain_type",
    "is_control_domain",
)


def pages_per_vcpu(profile: str) -> int:
    """Give the bookkeeping pages of a virtual CPU: none in the 7.1 arithmetic."""
    return memory.PAGES_PER_VCPU_7_1 if profile == "7.1" else memory.PAGES_PER_VCPU


def declare(db: Database, model: Model) -> None:
    """Declare all derived fields, and compute them for the rows there are.

    Call once, after the database is loaded.  Linear in the number of rows.
    """
    pages = pages_per_vcpu(model.profile)
    overhead = Derived(
        "VM",
        "memory_overhead",
        tuple(("VM", name, ()) for name in _OVERHEAD_FIELDS),
        lambda view, row: memory.overhead_bytes(row, pages),
    )
    allowed = [
        Derived(cls, "allowed_operations", rules.depends, rules.allowed)
        for cls, rules in for_profile(model.enums).items()
        if cls in db.tables
    ]
    db.derive(overhead, *allowed)
