"""The protocol of executable drivers of the first generation: SMAPIv1.

A call is one argument, an XML-RPC call whose method is the command and whose
parameter is a struct; the answer on the standard output is an XML-RPC answer
or fault, with exit status 0 in both cases.  Source: briefs, storage section 2.1.
"""

import xmlrpc.client
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from xml.parsers.expat import ExpatError

from sm import errors
from sm.executables.program import Ended
from sm.plugins import Plugin, parse_features
from xapi_py.base.rpc.errors import RpcError

IN_USE: Final = 16
VDI_IN_USE: Final = 24
UNIMPLEMENTED: Final = 38
NOT_EMPTY: Final = 39
MISSING: Final = 144
_OWN: Final = MappingProxyType(
    {IN_USE: errors.SR_IN_USE, VDI_IN_USE: errors.VDI_IN_USE, NOT_EMPTY: errors.SR_NOT_EMPTY}
)
SUFFIX: Final = "SR"


def call(command: str, members: Mapping[str, object]) -> str:
    """Write a call; members that are None are left out."""
    struct = {"command": command, **{k: v for k, v in members.items() if v is not None}}
    return xmlrpc.client.dumps((struct,), command, allow_none=True)


def answer(ended: Ended, sr: str, vdi: str = "") -> Any:
    """Read the answer.  Errors: RpcError as clients know them."""
    if ended.late:
        raise _plain("the driver did not answer in time", ended)
    if ended.status is None:
        raise _plain(f"received signal: {ended.signal}", ended)
    if ended.status:
        raise _plain("non-zero exit", ended)
    try:
        (found,), _ = xmlrpc.client.loads(ended.output, use_builtin_types=True)
    except xmlrpc.client.Fault as fault:
        raise refusal(fault.faultCode, fault.faultString, ended.errors, sr, vdi) from fault
    except (ExpatError, ValueError, TypeError, xmlrpc.client.Error) as problem:
        raise _plain(f"{type(problem).__name__}: {problem}", ended) from problem
    return found


def _plain(text: str, ended: Ended) -> RpcError:
    return RpcError(errors.BACKEND_ERROR, "SR_BACKEND_FAILURE", text, ended.output, ended.errors)


def refusal(number: int, text: str, stderr: str, sr: str, vdi: str) -> RpcError:
    """Give the error for a fault."""
    if number in _OWN:
        return errors.backend_failure(_OWN[number])
    if number == UNIMPLEMENTED:
        return errors.unsupported(sr)
    if number == MISSING and vdi:
        return errors.vdi_does_not_exist(vdi)
    return RpcError(errors.BACKEND_ERROR, f"SR_BACKEND_FAILURE_{number}", "", text, stderr)


def plugin(name: str, path: str, info: Mapping[str, Any]) -> Plugin:
    """Describe a driver by what it says about itself; ``name`` is that of its file.

    Errors: ValueError for an answer that is no description.
    """
    try:
        keys = {str(c["key"]): str(c["description"]) for c in info.get("configuration", ())}
        return Plugin(
            type=name.removesuffix(SUFFIX).lower(),
            name_label=str(info["name"]),
            name_description=str(info.get("description", "")),
            vendor=str(info.get("vendor", "")),
            copyright=str(info.get("copyright", "")),
            version=str(info.get("driver_version", "1.0")),
            required_api_version=str(info.get("required_api_version", "1.0")),
            features=parse_features(tuple(map(str, info.get("capabilities", ())))),
            configuration=keys,
            driver_filename=path,
            supported_image_formats=tuple(map(str, info.get("supported_image_formats", ()))),
        )
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"{path}: {problem!r}") from problem


def flag(value: bool) -> str:
    """Write a truth value as arguments have it."""
    return "true" if value else "false"
