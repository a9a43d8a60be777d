"""The messages the server does not implement."""

from collections.abc import Mapping

from xapi_py.datamodel._generated.unimplemented_table import UNIMPLEMENTED as _TABLE

ERROR_OF: Mapping[str, str] = _TABLE
"""The code of the error each unimplemented message gives, by wire name."""

UNIMPLEMENTED: frozenset[str] = frozenset(ERROR_OF)
"""Wire names of the messages that are not implemented."""
