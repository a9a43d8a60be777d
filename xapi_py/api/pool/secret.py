"""The secret of the pool."""

from dataclasses import replace

from xapi_py.api.call import Call
from xapi_py.api.disk_files import in_thread
from xapi_py.api.host.management import refuse_with_ha
from xapi_py.api.licence import require_feature
from xapi_py.api.registry import message
from xapi_py.pool.secret import keep_secret, new_secret


@message("pool.rotate_secret")
async def rotate_secret(call: Call) -> None:
    """Change the secret; sessions that were made with the old one stay.

    Errors: LICENCE_RESTRICTION, HA_IS_ENABLED.
    """
    require_feature(call, "restrict_pool_secret_rotation", "Pool_secret_rotation")
    refuse_with_ha(call)
    toolstack, secret = call.toolstack, new_secret()
    await in_thread(keep_secret, toolstack.settings.state, secret)
    toolstack.settings = replace(toolstack.settings, pool_secret=secret)
