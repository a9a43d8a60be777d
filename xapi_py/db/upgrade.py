"""Ordered steps that bring an older stored database to the present form.

Fields that came with a newer model need no step: they take their defaults,
and fields and classes that went are left out.  A step is needed where stored
values must move or change their meaning.  Never edit or reorder steps that
were released; add one at the end.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from xapi_py.db.failures import UnsupportedSchema

log = logging.getLogger(__name__)

FIRST_VERSION: Final = 1
Values = dict[str, Any]


class StoredObjects(Protocol):
    """Stored rows as a step sees them, inside one engine transaction."""

    def rows(self, cls: str) -> Iterator[tuple[str, Values]]:
        """Give reference and stored fields of each object of a class."""
        ...

    def write(self, cls: str, ref: str, values: Values) -> None:
        """Replace the fields of an object that is there."""
        ...

    def delete(self, cls: str, ref: str) -> None:
        """Remove an object."""
        ...

    def rename_class(self, old: str, new: str) -> None:
        """Move all objects of a class to a class that has none yet."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the stored form; ``apply`` does all of it or raises."""

    description: str
    apply: Callable[[StoredObjects], None]


STEPS: Final[tuple[Step, ...]] = ()
"""The first step leads from version 1 to 2, and so on."""


def version_after(steps: Sequence[Step]) -> int:
    """Give the schema version that a database has after all steps."""
    return FIRST_VERSION + len(steps)


def upgrade(objects: StoredObjects, version: int, steps: Sequence[Step] = STEPS) -> int:
    """Apply the steps after ``version``; gives the version reached.

    Raises ``UnsupportedSchema`` when the database is newer than the steps.
    """
    newest = version_after(steps)
    if not FIRST_VERSION <= version <= newest:
        raise UnsupportedSchema(
            f"the database has schema version {version}, this software reads 1 to {newest}"
        )
    for step in steps[version - FIRST_VERSION :]:
        log.info("upgrading the database: %s", step.description)
        step.apply(objects)
    return newest


def rename_field(cls: str, old: str, new: str) -> Step:
    """Make a step that keeps a field's value under another name."""

    def apply(objects: StoredObjects) -> None:
        for ref, values in objects.rows(cls):
            if old in values:
                values[new] = values.pop(old)
                objects.write(cls, ref, values)

    return Step(f"{cls}.{old} becomes {cls}.{new}", apply)


def rename_class(old: str, new: str) -> Step:
    """Make a step that moves all objects of a class to another name."""
    return Step(f"{old} becomes {new}", lambda objects: objects.rename_class(old, new))
