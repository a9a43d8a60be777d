"""Programs an administrator puts on a host for clients to call.

A plugin is an executable file in the folder ``plugins`` of the host's state.
Its one argument is an XML-RPC call (function name; session, struct of text),
its output the XML-RPC answer with Status and Value or ErrorDescription: the
form the public Python module for plugins reads and writes.  An extension is a
program of the folder ``extensions`` that reads a JSON-RPC call.
Source: facts/traces, misc-105 to -113.
"""

import json
import os
import xmlrpc.client
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from xapi_py.api.call import Call
from xapi_py.api.host import storage_plugin
from xapi_py.api.host.reach import reached
from xapi_py.api.registry import message
from xapi_py.base.errors import ApiError
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.pool.programs import Finished

PLUGINS = "plugins"
EXTENSIONS = "extensions"


@message("host.call_plugin")
async def call_plugin(call: Call, host: Ref, plugin: str, fn: str, args: dict[str, str]) -> str:
    """Call a function of a plugin on a host.

    Errors: HOST_OFFLINE, XENAPI_MISSING_PLUGIN, XENAPI_PLUGIN_FAILURE with
    status, output and error output, or the error the plugin answers.
    """
    reached(call, host)
    return await run_plugin(call, plugin, fn, args)


async def run_plugin(call: Call, plugin: str, fn: str, args: dict[str, str]) -> str:
    """Call a function of a plugin of this host.  Errors: as ``call_plugin``."""
    path = executable(call.toolstack.settings.state / PLUGINS, plugin)
    if path is None:
        if plugin == storage_plugin.NAME:
            return await storage_plugin.run(call, fn, args)
        raise err.XENAPI_MISSING_PLUGIN(plugin)
    request = xmlrpc.client.dumps((call.session.ref, args), fn)
    call.allow_cancel()
    finished = await call.toolstack.programs.run(path, (request,))
    return _plugin_answer(finished)


def _plugin_answer(finished: Finished) -> str:
    if finished.status is None:
        raise err.XENAPI_PLUGIN_FAILURE("killed", finished.output, finished.errors)
    if finished.status != 0:
        raise err.XENAPI_PLUGIN_FAILURE("non-zero exit", finished.output, finished.errors)
    try:
        (answer,), _ = xmlrpc.client.loads(finished.output)
    except (ExpatError, ValueError, xmlrpc.client.Error) as problem:
        raise err.XENAPI_PLUGIN_FAILURE(
            "unparsable answer", finished.output, f"{finished.errors}{problem}"
        ) from problem
    if isinstance(answer, dict) and "Status" in answer:
        if answer["Status"] == "Success":
            return str(answer.get("Value", ""))
        code, *params = answer.get("ErrorDescription") or ["XENAPI_PLUGIN_FAILURE"]
        raise ApiError(str(code), *(str(p) for p in params))
    return str(answer)


@message("host.has_extension")
def has_extension(call: Call, host: Ref, name: str) -> bool:
    """Tell whether a host has an extension."""
    reached(call, host)
    return executable(call.toolstack.settings.state / EXTENSIONS, name) is not None


@message("host.call_extension")
async def call_extension(call: Call, host: Ref, call_text: str) -> str:
    """Send a JSON-RPC call to the extension it names, and give its result.

    Errors: INTERNAL_ERROR for text that is no call, MESSAGE_METHOD_UNKNOWN.
    """
    reached(call, host)
    try:
        request: Any = json.loads(call_text)
        method = request["method"]
    except (ValueError, TypeError, KeyError) as problem:
        raise err.INTERNAL_ERROR(f"not a call: {problem}") from problem
    path = executable(call.toolstack.settings.state / EXTENSIONS, str(method))
    if path is None:
        raise err.MESSAGE_METHOD_UNKNOWN(str(method))
    finished = await call.toolstack.programs.run(path, (), json.dumps(request))
    if finished.status != 0:
        raise err.INTERNAL_ERROR(f"extension {method}: {finished.errors}")
    return finished.output


def executable(folder: Path, name: str) -> Path | None:
    """Find a program of a folder by its plain name; nothing outside counts."""
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        return None
    path = folder / name
    return path if path.is_file() and os.access(path, os.X_OK) else None
