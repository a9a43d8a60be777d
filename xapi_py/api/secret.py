"""Messages of class secret."""

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err


@message("secret.introduce")
def introduce(call: Call, uuid: str, value: str, other_config: dict[str, str]) -> Ref:
    """Make a secret with a uuid of the caller's choice.  Errors: INTERNAL_ERROR if it is taken."""
    if uuid in call.db.tables["secret"].uuids:
        raise err.INTERNAL_ERROR(f"there is a secret with the uuid {uuid}")
    with call.db.transaction() as tx:
        return tx.create("secret", {"uuid": uuid, "value": value, "other_config": other_config})
