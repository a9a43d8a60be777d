from hypothesis import given
from hypothesis import strategies as st

from sm.drivers.change_log import BLOCK_BYTES, empty_bits, mark, union

SIZE = 64 * BLOCK_BYTES
EXTENTS = st.lists(st.tuples(st.integers(0, SIZE * 2), st.integers(0, SIZE)), max_size=5)


def blocks(bits: bytes) -> set[int]:
    return {i for i in range(len(bits) * 8) if bits[i >> 3] & (0x80 >> (i & 7))}


@given(EXTENTS)
def test_marked_blocks_are_those_the_extents_touch(extents: list[tuple[int, int]]) -> None:
    expected = {
        block
        for offset, length in extents
        for block in range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))
        if length and block < 64
    }
    assert blocks(mark(empty_bits(SIZE), extents)) == expected


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_union_has_the_blocks_of_both(first: bytes, second: bytes) -> None:
    assert blocks(union(first, second)) == blocks(first) | blocks(second)


def test_first_block_is_the_most_significant_bit() -> None:
    assert mark(empty_bits(SIZE), [(0, 1)])[0] == 0x80
