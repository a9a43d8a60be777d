"""Memory arithmetic."""

import pytest

from tests.unit.xenops.factories import MIB, make_md
from xenops import memory


def test_overhead_of_a_two_gigabyte_hvm_guest() -> None:
    assert memory.shadow_mib(2048, 2, 1.0) == 18
    assert memory.overhead_mib("HVM", 2048, 2, 1.0) == 21


def test_overhead_follows_type_and_multiplier() -> None:
    assert memory.overhead_mib("PV", 2048, 2, 1.0) == 20
    assert memory.overhead_mib("PVinPVH", 2048, 2, 1.0) == 21 + 23 + 22
    assert memory.overhead_mib("HVM", 2048, 2, 4.0) == 21 + 54


def test_overhead_bytes_rounds_static_max_up() -> None:
    vm = make_md(memory_mib=(256, 256, 256), memory_static_max=256 * MIB + 1).vm
    assert memory.overhead_bytes(vm) == memory.overhead_mib("HVM", 257, 2, 1.0) * MIB


@pytest.mark.parametrize(
    ("available", "expected"),
    [(0, [10, 20]), (30, [10, 20]), (45, [15, 30]), (60, [20, 40]), (99, [20, 40])],
)
def test_memory_is_shared_out_in_proportion(available: int, expected: list[int]) -> None:
    assert memory.share_out([(10, 20), (20, 40)], available) == expected
