"""One class of objects in memory: rows, indexes, and what changed when."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Final

from xapi_py.base.names import Ref
from xapi_py.db.row import EMPTY_REFS, RefSet, Row, set_generations, set_modified, set_ref
from xapi_py.db.schema import Column, TableDef

DELETIONS_KEPT: Final = 10_000
"""How many deletions of one class are remembered for late readers."""

Deletion = tuple[Ref, int, int]
"""Reference, generation of the deletion, generation of the creation."""


class NameIndex:
    """References by label; a label most often belongs to one object."""

    __slots__ = ("_refs",)

    def __init__(self) -> None:
        self._refs: dict[str, Ref | dict[Ref, None]] = {}

    def get(self, label: str) -> tuple[Ref, ...]:
        found = self._refs.get(label)
        if found is None:
            return ()
        return tuple(found) if isinstance(found, dict) else (found,)

    def add(self, label: str, ref: Ref) -> None:
        found = self._refs.get(label)
        if found is None:
            self._refs[label] = ref
        elif isinstance(found, dict):
            found[ref] = None
        else:
            self._refs[label] = {found: None, ref: None}

    def discard(self, label: str, ref: Ref) -> None:
        found = self._refs[label]
        if isinstance(found, dict):
            del found[ref]
            if not found:
                del self._refs[label]
        else:
            del self._refs[label]


class Table:
    """Rows of one class; only transactions and the loader change it."""

    def __init__(self, definition: TableDef) -> None:
        self.definition = definition
        self.name = definition.name
        self.persist = definition.persist
        self.columns = definition.columns
        self.rows: dict[Ref, Row] = {}
        self.uuids: dict[str, Ref] = {}
        self.names = NameIndex()
        # Rows by the generation of their last change, oldest first.  An
        # OrderedDict, because a dict leaves holes that a reader from the end
        # would have to pass.
        self.recent: OrderedDict[Ref, Row] = OrderedDict()
        self.deleted: deque[Deletion] = deque(maxlen=DELETIONS_KEPT)
        self.forgotten_generation = 0  # deletions up to here may be unknown
        # Collections of objects that do not exist (yet, or any more) but are
        # referred to: missing reference -> field -> collection.
        self.ghosts: dict[Ref, dict[str, RefSet]] = {}
        self._plain = [(c.put, c.name, c.default) for c in definition.columns.values()]

    def new_row(self, ref: Ref, values: dict[str, Any]) -> Row:
        """Make a row outside the table; collections start empty."""
        row = self.definition.row_type.__new__(self.definition.row_type)
        set_ref(row, ref)
        set_generations(row, 0, 0)
        get = values.get
        for put, name, default in self._plain:
            put(row, get(name, default))
        return row

    def collection(self, ref: Ref, column: Column) -> RefSet | None:
        """Give the collection of an object, or of the gap where it would be."""
        row = self.rows.get(ref)
        if row is not None:
            found: RefSet = column.get(row)
            return found
        ghost = self.ghosts.get(ref)
        return None if ghost is None else ghost.get(column.name)

    def add_member(self, ref: Ref, column: Column, member: Ref, position: int) -> None:
        """Put a member into a collection, which comes into being if need be."""
        collection = self.collection(ref, column)
        if collection is None:
            collection = self.ghosts.setdefault(ref, {})[column.name] = RefSet()
        elif collection is EMPTY_REFS:
            collection = RefSet()
            column.put(self.rows[ref], collection)
        collection._add(member, position)

    def discard_member(self, ref: Ref, column: Column, member: Ref) -> int | None:
        """Take a member out; gives its position, ``None`` if it was not in."""
        collection = self.collection(ref, column)
        if collection is None or member not in collection:
            return None
        position = collection._discard(member)
        if not collection and ref not in self.rows:
            ghost = self.ghosts[ref]
            del ghost[column.name]
            if not ghost:
                del self.ghosts[ref]
        return position

    def stamp(self, row: Row, generation: int) -> None:
        """Note that a row changed in this generation, the newest there is."""
        set_modified(row, generation)
        self.recent[row.ref] = row
        self.recent.move_to_end(row.ref)

    def note_deletion(self, ref: Ref, deleted: int, created: int) -> None:
        if len(self.deleted) == DELETIONS_KEPT:
            self.forgotten_generation = self.deleted[0][1]
        self.deleted.append((ref, deleted, created))

    def forget_deletions_from(self, generation: int) -> None:
        """Drop deletions that were undone."""
        while self.deleted and self.deleted[-1][1] >= generation:
            self.deleted.pop()

    def changed_since(self, since: int) -> tuple[list[Row], list[Row]]:
        """Give rows added and rows modified after a generation, newest last."""
        added: list[Row] = []
        modified: list[Row] = []
        for row in reversed(self.recent.values()):
            if row.modified <= since:
                break
            (added if row.created_generation > since else modified).append(row)
        added.reverse()
        modified.reverse()
        return added, modified

    def deleted_since(self, since: int) -> list[Deletion]:
        found: list[Deletion] = []
        for deletion in reversed(self.deleted):
            if deletion[1] <= since:
                break
            found.append(deletion)
        found.reverse()
        return found

    def adopt(self, rows: Iterable[Row]) -> None:
        """Put loaded rows into an empty table and index them."""
        indexed = [c for c in self.columns.values() if c.index]
        for row in rows:
            self.rows[row.ref] = row
            for column in indexed:
                value = column.get(row)
                if column.index == "uuid":
                    if value:
                        self.uuids[value] = row.ref
                else:
                    self.names.add(value, row.ref)
        for row in sorted(self.rows.values(), key=lambda r: r.modified):
            self.recent[row.ref] = row
