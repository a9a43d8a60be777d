"""The order of the network cards, kept in a file."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from xcp_networkd import nic_order, state_file
from xcp_networkd.contract import Link
from xcp_networkd.nic_order import Card, Position


class NicPositions:
    """Give cards their positions and remember them."""

    def __init__(self, state: Path) -> None:
        self._file = state / "nic-order.json"

    def _known(self) -> tuple[Position, ...]:
        kept = cast(dict[str, Any], state_file.read(self._file) or {})
        return tuple(Position(**entry) for entry in kept.get("positions", ()))

    def of(self, nics: Iterable[Link]) -> dict[str, int]:
        """Give the position of each card by name, new ones included, and keep it."""
        cards = [Card(nic.name, nic.mac, nic.pci_bus_path) for nic in nics]
        known = self._known()
        found = nic_order.order(known, cards)
        if found != known:
            entries = [asdict(position) for position in found]
            state_file.write(self._file, {"positions": entries}, durable=True)
        return nic_order.names(found, cards)
