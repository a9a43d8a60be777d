"""What every dialect offers: requests in, fragments and answers out.

A fragment is one complete encoded value, ``<value>...</value>`` or JSON text.
Answers are lists of chunks, so that long ones are never copied together.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from xapi_py.base.errors import ApiError
from xapi_py.datamodel.model import ClassDef, Model, Type
from xapi_py.wire.decode import Decoder, decoder
from xapi_py.wire.fragments import DEFAULT_LIMIT_BYTES, FragmentCache
from xapi_py.wire.raw import Raw, RawCall

RequestId = int | str


class Dialect(ABC):
    """One way calls travel; stateless but for its fragment cache."""

    name: ClassVar[str]
    content_type: ClassVar[str]
    encodes: ClassVar[bool] = True
    """Whether results become text; False where values stay in the process."""

    def __init__(self, cache_limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.fragments = FragmentCache(cache_limit_bytes)

    @abstractmethod
    def parse_request(self, body: bytes) -> RawCall:
        """Read a request.  Errors: WireError."""

    def decoder(self, type_: Type, model: Model) -> Decoder:
        """Give what makes data values of parameters.  Its errors: INTERNAL_ERROR."""
        return decoder(type_, model)

    def decode(self, raw: Raw, type_: Type, model: Model) -> Any:
        """Give the data value of a parameter.  Errors: INTERNAL_ERROR."""
        return self.decoder(type_, model)(raw)

    @abstractmethod
    def encode(self, value: Any, type_: Type, model: Model | None = None) -> bytes:
        """Give the fragment of a data value; records need the model."""

    @abstractmethod
    def text(self, text: str) -> bytes:
        """Give the fragment of a string."""

    @abstractmethod
    def count(self, number: int) -> bytes:
        """Give the fragment of a count in an event answer, a typed integer."""

    struct_ends: ClassVar[tuple[bytes, bytes]]
    array_ends: ClassVar[tuple[bytes, bytes]]
    separator: ClassVar[bytes] = b""
    """What stands around and between the members of a struct or the items of an array."""

    @abstractmethod
    def members(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        """Join named fragments to the inside of a struct, or a part of it."""

    def array(self, items: Iterable[bytes]) -> list[bytes]:
        """Join fragments to an array, as chunks."""
        return [self.array_ends[0], self.separator.join(items), self.array_ends[1]]

    def struct(self, members: Iterable[tuple[str, bytes]]) -> list[bytes]:
        """Join named fragments to a struct, as chunks."""
        return [self.struct_ends[0], self.members(members), self.struct_ends[1]]

    @abstractmethod
    def encode_record(self, row: Any, class_def: ClassDef, model: Model | None) -> bytes:
        """Encode a row without looking at the cache."""

    def record(self, row: Any, class_def: ClassDef, model: Model | None = None) -> bytes:
        """Give the fragment of a row's full record.

        Encoded once per generation of the row (``row.modified``) while the
        cache holds it.
        """
        found = self.fragments.get(row, class_def)
        if found is None:
            found = self.encode_record(row, class_def, model)
            self.fragments.put(row, class_def, found)
        return found

    def listed(self, row: Any, class_def: ClassDef, model: Model | None = None) -> bytes:
        """Give the fragment of a row's full record as a part of a listing.

        It is kept only where that pushes nothing else out of the cache.
        """
        found = self.fragments.get(row, class_def)
        if found is None:
            found = self.encode_record(row, class_def, model)
            self.fragments.put(row, class_def, found, listing=True)
        return found

    def records(
        self, rows: Iterable[Any], class_def: ClassDef, model: Model | None = None
    ) -> list[bytes]:
        """Give the map from reference to record of a few rows, as chunks."""
        return self.struct([(row.ref, self.listed(row, class_def, model)) for row in rows])

    @abstractmethod
    def success(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        """Give the answer that carries a result."""

    def bare(self, chunks: Iterable[bytes], id_: RequestId = 0) -> list[bytes]:
        """Give the answer of ``system.`` methods, without Status over XML-RPC."""
        return self.success(chunks, id_)

    @abstractmethod
    def failure(self, error: ApiError, id_: RequestId = 0) -> bytes:
        """Give the answer that carries an error."""

    def unreadable(self, error: ApiError) -> bytes:
        """Give the answer to a request whose id could not be read."""
        return self.failure(error, 0)
