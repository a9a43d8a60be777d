"""What a client wants to hear about, and the token that says since when."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from xapi_py.datamodel import errors as err
from xapi_py.datamodel.model import Model

_TOKEN_PART = re.compile(r"-?\d{1,20}")
MAX_KNOWN = 1000
_MAX_GENERATION = 2**62
"""A larger number does not fit the token of the real server."""


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """The classes and single objects a client follows.

    Names of classes are those of the model; ``everything`` is ``*``.  The
    parser gives the same one for the same texts, so they compare by identity.
    """

    everything: bool = False
    classes: frozenset[str] = frozenset()
    objects: frozenset[tuple[str, str]] = frozenset()

    def wants_class(self, name: str) -> bool:
        """Whether every object of the class is followed."""
        return self.everything or name in self.classes

    def names(self, all_classes: tuple[str, ...]) -> tuple[str, ...]:
        """Give the classes in which there is something to look for, in order."""
        if self.everything:
            return all_classes
        single = {name for name, _ in self.objects}
        return tuple(n for n in all_classes if n in self.classes or n in single)


def event_classes(model: Model) -> tuple[str, ...]:
    """Give the classes whose changes are events, in the order of the model."""
    return tuple(
        name for name, c in model.classes.items() if (c.in_db and c.events) or name == "message"
    )


class SubscriptionParser:
    """Turns the text forms ``*``, ``vm`` and ``vm/OpaqueRef:...`` into subscriptions.

    Letter case of a class does not matter; a class that does not exist never
    has events and is no error.  Source: facts/traces, group events.
    """

    def __init__(self, model: Model) -> None:
        self._names = {name.lower(): name for name in event_classes(model)}
        self._known: dict[tuple[str, ...], Subscription] = {}

    def parse(self, texts: tuple[str, ...]) -> Subscription:
        """Read a list of texts."""
        known = self._known.get(texts)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[texts] = self._read(texts)
        return known

    def _read(self, texts: Iterable[str]) -> Subscription:
        classes: set[str] = set()
        objects: set[tuple[str, str]] = set()
        everything = False
        for text in texts:
            name, slash, ref = text.partition("/")
            if name == "*":
                everything = True
                continue
            known = self._names.get(name.lower())
            if known is None:
                continue
            if not slash:
                classes.add(known)
            elif "/" not in ref:
                objects.add((known, ref))
        return Subscription(everything, frozenset(classes), frozenset(objects))


def format_token(generation: int) -> str:
    """Give the token of a generation."""
    return f"{generation:020d},{generation:020d}"


def parse_token(token: str) -> int | None:
    """Read a token; None is "from the beginning".

    Errors: EVENT_FROM_TOKEN_PARSE_FAILURE.
    """
    if token == "":
        return None
    parts = token.split(",")
    if len(parts) != 2 or not all(_TOKEN_PART.fullmatch(p) for p in parts):
        raise err.EVENT_FROM_TOKEN_PARSE_FAILURE(token)
    generation, messages = (int(p) for p in parts)
    if max(generation, messages) >= _MAX_GENERATION:
        raise err.EVENT_FROM_TOKEN_PARSE_FAILURE(token)
    return generation
