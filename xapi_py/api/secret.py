"""Messages of class secret."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref


@message("secret.introduce")
def introduce(call: Call, uuid: str, value: str, other_config: dict[str, str]) -> Ref:
    """Make a secret with a uuid of the caller's choice."""
    with call.db.transaction() as tx:
        return tx.create("secret", {"uuid": uuid, "value": value, "other_config": other_config})
