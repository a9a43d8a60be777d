"""Which position each network card has, the same at every start.  Pure.

Source: briefs, network section 19.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

_PREFIX = "eth"


@dataclass(frozen=True, slots=True)
class Card:
    """A network card that is there: name, permanent MAC, PCI path (empty when unknown)."""

    name: str
    mac: str
    pci: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """A card's place in the order, kept also while the card is away."""

    position: int
    mac: str
    pci: str
    present: bool = True


def order(known: Iterable[Position], cards: Iterable[Card]) -> tuple[Position, ...]:
    """Give every card a position; nothing known is ever renumbered.

    A card is known by its MAC; one with a new MAC in the slot of a card that is
    gone replaces it.  A new card named eth<N> takes N if that is free; the rest follow by
    slot and name.
    """
    table = {p.position: replace(p, present=False) for p in known}
    left: list[Card] = []
    for card in cards:
        found = next((p for p in table.values() if p.mac == card.mac and not p.present), None)
        if found is None:
            left.append(card)
        else:
            table[found.position] = Position(found.position, card.mac, card.pci)
    unplaced: list[Card] = []
    for card in left:
        slot = next((p for p in table.values() if _vacant(p, card)), None)
        if slot is None:
            unplaced.append(card)
        else:
            table[slot.position] = Position(slot.position, card.mac, card.pci)
    for card in sorted(
        unplaced, key=lambda c: (_number(c.name) is None, c.pci == "", c.pci, c.name)
    ):
        wanted = _number(card.name)
        position = wanted if wanted is not None and wanted not in table else _free(table)
        table[position] = Position(position, card.mac, card.pci)
    return tuple(table[position] for position in sorted(table))


def _vacant(position: Position, card: Card) -> bool:
    return not position.present and bool(card.pci) and position.pci == card.pci


def _number(name: str) -> int | None:
    digits = name.removeprefix(_PREFIX)
    return int(digits) if name.startswith(_PREFIX) and digits.isdigit() else None


def _free(taken: Collection[int]) -> int:
    return next(n for n in range(len(taken) + 1) if n not in taken)


def names(positions: Iterable[Position], cards: Iterable[Card]) -> dict[str, int]:
    """Give the position of each card that is there, by its present name."""
    by_mac: dict[str, list[int]] = {}
    for place in positions:
        if place.present:
            by_mac.setdefault(place.mac, []).append(place.position)
    return {card.name: by_mac[card.mac].pop(0) for card in cards if by_mac.get(card.mac)}


def renames(wanted: dict[str, int]) -> list[tuple[str, str]]:
    """Plan how each device gets the name eth<position>: pairs (old, new), in order.

    A name that another device still has is passed through a temporary one.
    """
    moves = {old: f"{_PREFIX}{n}" for old, n in wanted.items() if old != f"{_PREFIX}{n}"}
    first = [(old, f"side-{old}"[:15]) for old in moves if old in moves.values()]
    aside = dict(first)
    return first + [(aside.get(old, old), new) for old, new in moves.items()]
