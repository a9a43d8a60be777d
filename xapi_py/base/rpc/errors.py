"""Failures of internal calls."""

JSON_RPC_PARSE = -32700
JSON_RPC_INVALID = -32600
JSON_RPC_NO_METHOD = -32601
JSON_RPC_BAD_PARAMS = -32602
JSON_RPC_INTERNAL = -32603
DAEMON_ERROR = -32000
"""JSON-RPC code of an error that the daemon's interface names."""


class RpcError(Exception):
    """An error the called daemon names in its interface, with plain parameters.

    ``name`` is for example ``Bad_power_state`` or ``Storage_backend_error``;
    ``params`` are JSON values.  The caller maps it to an API error.
    """

    def __init__(self, name: str, *params: object) -> None:
        super().__init__(name, *params)
        self.name = name
        self.params = params


class RpcInternalError(Exception):
    """The called daemon failed in a way its interface does not name."""


class RpcUnreachable(Exception):
    """The daemon is not there, or the connection broke before its answer.

    After a broken connection the operation may or may not have taken effect:
    ask the daemon for its state.
    """


class RpcTimeout(Exception):
    """No answer came before the deadline of the call."""
