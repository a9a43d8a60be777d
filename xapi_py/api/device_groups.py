"""Groups of like devices of hosts: what GPU_group and USB_group share."""

from collections.abc import Mapping

from xapi_py.api.call import Call
from xapi_py.base.names import Ref


def empty_group(
    call: Call, cls: str, label: str, description: str, other_config: Mapping[str, str]
) -> Ref:
    """Make a group without devices."""
    fields = {
        "name_label": label,
        "name_description": description,
        "other_config": dict(other_config),
    }
    with call.db.transaction() as tx:
        return tx.create(cls, fields)
