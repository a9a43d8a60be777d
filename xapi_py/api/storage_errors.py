"""Failures of the storage daemon as the errors clients know."""

from typing import Any

from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.base.rpc.errors import RpcError, RpcInternalError, RpcTimeout, RpcUnreachable
from xapi_py.datamodel import errors as err
from xapi_py.db.database import Database

TROUBLE = (RpcError, RpcInternalError, RpcTimeout, RpcUnreachable)
"""What a call of a daemon can fail with."""

VDI_UNAVAILABLE = "SR_BACKEND_FAILURE_46"


def storage_error(problem: Exception, db: Database, sr: Ref, vdi: Ref) -> ApiError:
    """Give the API error of a failed call about an SR and maybe a disk (else NULL_REF).

    A driver's own error passes unchanged: clients read the document in its
    last parameter.  Objects that errors name by uuid become references.
    """
    if isinstance(problem, RpcError):
        return _named(problem.name, [str(p) for p in problem.params], db, sr, vdi)
    if isinstance(problem, RpcTimeout):
        return _silent(f"The storage daemon did not answer in time: {problem}")
    if isinstance(problem, RpcUnreachable):
        return _silent(f"The storage daemon is not there, try again: {problem}")
    return err.INTERNAL_ERROR(f"the storage daemon failed: {problem}")


def _silent(text: str) -> ApiError:
    """Give the error of a backend that gave none; clients show the second parameter."""
    return err.SR_BACKEND_FAILURE("", text, "")


def _named(name: str, params: list[str], db: Database, sr: Ref, vdi: Ref) -> ApiError:
    match name:
        case "Storage_backend_error":
            return _backend(params, sr, vdi)
        case "Sr_not_attached":
            return err.SR_NOT_ATTACHED(sr)
        case "Vdi_does_not_exist":
            return err.VDI_MISSING(sr, vdi)
        case "Activated_on_another_host":
            host = _name_of_host(db, params[0] if params else "")
            text = f"The VDI is not available [opterr=VDI is in use by host {host}]"
            return ApiError(VDI_UNAVAILABLE, "", text, "")
        case "No_storage_plugin_for_type":
            return err.SR_UNKNOWN_DRIVER(*params)
        case _:
            return err.INTERNAL_ERROR(": ".join((name, *params)))


def _backend(params: list[str], sr: Ref, vdi: Ref) -> ApiError:
    code, rest = params[0], params[1:]
    if code == "SR_OPERATION_NOT_SUPPORTED":
        return ApiError(code, *([sr] if rest else []))
    if code == "VDI_IN_USE" and not rest:
        return err.VDI_IN_USE(vdi, "storage")
    return ApiError(code, *rest)


def _name_of_host(db: Database, uuid: str) -> str:
    host: Any = next((h for h in db.rows("host") if h.uuid == uuid), None)
    return str(host.name_label) if host is not None else uuid
