"""What changed after a generation."""

from dataclasses import dataclass

from xapi_py.db.row import Row
from xapi_py.db.table import Deletion


@dataclass(frozen=True, slots=True)
class Changes:
    """Objects of one class that came, changed or went, each oldest first.

    ``added`` objects are in no other list.  ``deleted`` entries are
    ``(ref, deleted_generation, created_generation)``; an object whose
    creation is also after the generation asked for was never known to the
    one who asks.  ``incomplete`` tells that deletions may be missing, because
    the generation is from before the restart or too long ago.
    """

    added: list[Row]
    modified: list[Row]
    deleted: list[Deletion]
    incomplete: bool
