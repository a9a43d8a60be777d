# ===========================================================================
#  GENERATED FILE: DO NOT EDIT.
#  Written from the YAML files of xapi_py/datamodel by
#      python -m xapi_py.datamodel.compile
# ===========================================================================
"""Generated modules of the data model."""

__all__: list[str] = []
