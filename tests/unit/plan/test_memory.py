"""Memory arithmetic: recorded overheads, order of limits, free memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.factories import DictView, make_host, make_vm
from xapi_py.base.errors import ApiError
from xapi_py.plan import memory

MIB = 1 << 20


@pytest.mark.parametrize(
    ("kind", "static_mib", "vcpus", "per_vcpu", "expected"),
    [
        ("hvm", 512, 4, 38, 11),  # recorded: 11534336
        ("hvm", 512, 2, 38, 9),  # recorded: 9437184
        ("hvm", 2048, 2, 0, 20),  # the 7.1 rule
        ("hvm", 2048, 2, 38, 21),
        ("pv", 2048, 2, 0, 19),
        ("pv_in_pvh", 900, 1, 0, 1 + 1 + 9 + 23 + 10),
    ],
)  # fmt: skip
def test_overhead(kind: str, static_mib: int, vcpus: int, per_vcpu: int, expected: int) -> None:
    assert memory.overhead_mib(kind, static_mib, vcpus, 1.0, per_vcpu) == expected


@pytest.mark.parametrize("factor", [float("inf"), float("nan"), 1e300])
def test_no_host_has_the_shadow_memory_of_a_boundless_factor(factor: float) -> None:
    assert memory.shadow_mib(512, 1, factor) == memory.MAX_SHADOW_MIB
    assert memory.shadow_mib(512, 1, float("-inf")) == 1


@given(st.integers(1, 1 << 20), st.integers(1, 64), st.floats(1.0, 8.0))
def test_overhead_grows_with_everything(size: int, vcpus: int, factor: float) -> None:
    base = memory.overhead_mib("hvm", size, vcpus, factor)
    assert memory.overhead_mib("hvm", size + 512, vcpus, factor) >= base
    assert memory.overhead_mib("hvm", size, vcpus + 1, factor) >= base
    assert memory.overhead_mib("hvm", size, vcpus, factor + 1) >= base


@pytest.mark.parametrize(
    ("limits", "fine"),
    [
        ((1, 2, 3, 4), True),
        ((0, 2, 3, 4), True),
        ((1, 3, 2, 4), False),
        ((3, 2, 3, 4), False),
        ((1, 2, 5, 4), False),
    ],
)
def test_order_of_limits(limits: tuple[int, int, int, int], fine: bool) -> None:
    error = memory.limits_error(memory.Limits(*limits))
    if fine:
        assert error is None
    else:
        assert error is not None
        assert error.description == ["MEMORY_CONSTRAINT_VIOLATION_ORDER"]


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ((0, 0, 0, 0), ["INVALID_VALUE", "memory_dynamic_min", "0"]),
        ((-1, 2, 3, 4), ["INVALID_VALUE", "memory_static_min", "-1"]),
        ((-4, -3, -2, -1), ["INVALID_VALUE", "memory_static_min", "-4"]),
    ],
)
def test_sizes_no_guest_can_have(limits: tuple[int, int, int, int], refused: list[str]) -> None:
    error = memory.limits_error(memory.Limits(*limits))
    assert error is not None
    assert error.description == refused


def test_pinning_needs_equal_limits() -> None:
    error = memory.limits_error(memory.Limits(1, 2, 3, 3), "nested virt")
    assert error is not None and error.code == "MEMORY_CONSTRAINT_VIOLATION_MAXPIN"
    assert memory.limits_error(memory.Limits(1, 3, 3, 3), "nested virt") is None


@given(*(st.integers(0, 1000) for _ in range(4)))
def test_start_clamps_or_refuses(smin: int, dmin: int, dmax: int, smax: int) -> None:
    limits = memory.Limits(smin, dmin, dmax, smax)
    if smax < smin or dmax < dmin:
        with pytest.raises(ApiError, match="MEMORY_CONSTRAINT_VIOLATION"):
            memory.coerced_for_start(limits)
    else:
        assert memory.coerced_for_start(limits).in_order()


def test_free_memory_counts_residents_and_not_the_vm_itself() -> None:
    view = DictView()
    host = make_host(view, memory_total=1000 * MIB, memory_overhead=100 * MIB)
    for _ in range(2):
        make_vm(
            view, power_state="Running", resident_on=host.ref,
            memory_dynamic_min=100 * MIB, memory_overhead=10 * MIB,
        )  # fmt: skip
    resident = host.resident_VMs[0]
    assert memory.free_bytes(view, host) == (900 - 220) * MIB
    assert memory.free_bytes(view, host, resident) == (900 - 110) * MIB


def test_free_memory_is_never_negative() -> None:
    view = DictView()
    host = make_host(view, memory_total=MIB, memory_overhead=2 * MIB)
    assert memory.free_bytes(view, host) == 0


@given(st.integers(16, 1 << 20))
def test_largest_static_max_fits_and_one_more_does_not(total_mib: int) -> None:
    vm = make_vm(DictView())
    found = memory.maximum_static_max(vm, total_mib * MIB, False) // MIB
    assert found + memory.overhead_mib("hvm", found, 2, 1.0) <= total_mib
    assert found + 1 + memory.overhead_mib("hvm", found + 1, 2, 1.0) > total_mib
