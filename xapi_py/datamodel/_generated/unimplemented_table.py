# ===========================================================================
#  GENERATED FILE: DO NOT EDIT.
#  Written from the YAML files of xapi_py/datamodel by
#      python -m xapi_py.datamodel.compile
# ===========================================================================
"""Messages that are not implemented, with the error they give."""

from typing import Any

UNIMPLEMENTED: Any = {}
