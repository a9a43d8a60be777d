"""Virtual functions of network cards (SR-IOV), through the card's files in sysfs."""

import re
from pathlib import Path
from typing import Final

from xcp_networkd import errors

CAPABILITY: Final = "sriov"
_LINK: Final = re.compile(r"virtfn(\d+)")


class VirtualFunctions:
    """Tell and change how many functions the cards of a host show; ``sys`` is ``/sys``."""

    def __init__(self, sys: Path) -> None:
        self._nets = sys / "class/net"

    def _folder(self, card: str) -> Path:
        return self._nets / card / "device"

    def most(self, card: str) -> int:
        """How many functions a card can show; 0 for one that has none."""
        return _number(self._folder(card) / "sriov_totalvfs")

    def capabilities(self, card: str) -> tuple[str, ...]:
        """What a card is able to, as clients are told."""
        return (CAPABILITY,) if self.most(card) else ()

    def shown(self, card: str) -> bool:
        """Whether a card shows functions now, whoever asked for them."""
        return _number(self._folder(card) / "sriov_numvfs") > 0

    def addresses(self, card: str) -> tuple[str, ...]:
        """Give the PCI addresses of the functions in the card's own order."""
        found: list[tuple[int, str]] = []
        try:
            for path in self._folder(card).iterdir():
                if number := _LINK.fullmatch(path.name):
                    found.append((int(number[1]), path.readlink().name))
        except OSError:
            return ()
        return tuple(address for _, address in sorted(found))

    def show(self, card: str) -> None:
        """Have a card show all its functions, unless it shows some.  Errors: Script_error."""
        if self.shown(card):
            return
        most = self.most(card)
        if not most:
            raise errors.script_error(f"{card} has no virtual functions")
        self._write(card, most)

    def hide(self, card: str) -> None:
        """Take the functions away.  Errors: Script_error."""
        if self.shown(card):
            self._write(card, 0)

    def _write(self, card: str, number: int) -> None:
        try:
            (self._folder(card) / "sriov_numvfs").write_text(str(number), encoding="ascii")
        except OSError as problem:
            text = f"{card}: {number} virtual functions: {problem.strerror}"
            raise errors.script_error(text) from problem


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
