from hypothesis import given
from hypothesis import strategies as st

from xcp_networkd.nic_order import Card, Position, names, order, renames

MACS = [f"02:00:00:00:00:{n:02x}" for n in range(8)]


@st.composite
def card_sets(draw: st.DrawFn) -> list[list[Card]]:
    """What is plugged in at several starts of a machine."""
    starts = []
    for _ in range(draw(st.integers(1, 4))):
        macs = draw(st.lists(st.sampled_from(MACS), unique=True))
        labels = draw(st.permutations(["eth0", "eth1", "eth5", "enp1s0", "enp2s0", "a", "b", "c"]))
        starts.append(
            [Card(n, m, f"0000:0{m[-1]}:00.0") for n, m in zip(labels, macs, strict=False)]
        )
    return starts


@given(card_sets())
def test_no_card_ever_changes_its_position(starts: list[list[Card]]) -> None:
    known: tuple[Position, ...] = ()
    for cards in starts:
        found = order(known, cards)
        before = {p.mac: p.position for p in known}
        after = {p.mac: p.position for p in found}
        assert all(after[mac] == place for mac, place in before.items())
        assert len(set(after.values())) == len(after)
        assert set(names(found, cards)) == {card.name for card in cards}
        known = found


@given(card_sets())
def test_renaming_leads_to_the_wanted_names(starts: list[list[Card]]) -> None:
    for cards in starts:
        wanted = names(order((), cards), cards)
        present = {card.name: card.name for card in cards}
        for old, new in renames(wanted):
            assert new not in present, "a name is taken while another device has it"
            present[new] = present.pop(old)
        assert {first: now for now, first in present.items()} == {
            name: f"eth{place}" for name, place in wanted.items()
        }


def test_card_in_the_slot_of_a_lost_one_takes_its_place() -> None:
    old = order((), [Card("eth0", MACS[0], "0000:01:00.0"), Card("eth1", MACS[1], "0000:02:00.0")])
    new = order(old, [Card("eth0", MACS[7], "0000:02:00.0"), Card("eth1", MACS[0], "0000:01:00.0")])
    assert [(p.position, p.mac) for p in new] == [(0, MACS[0]), (1, MACS[7])]


def test_lost_card_keeps_its_place() -> None:
    old = order((), [Card("eth0", MACS[0]), Card("eth1", MACS[1])])
    new = order(old, [Card("eth0", MACS[1]), Card("eth1", MACS[2])])
    assert [(p.position, p.mac, p.present) for p in new] == [
        (0, MACS[0], False),
        (1, MACS[1], True),
        (2, MACS[2], True),
    ]


def test_names_of_unknown_cards_follow_the_slots() -> None:
    cards = [Card("enp2s0", MACS[0], "0000:02:00.0"), Card("enp1s0", MACS[1], "0000:01:00.0")]
    assert names(order((), cards), cards) == {"enp1s0": 0, "enp2s0": 1}
