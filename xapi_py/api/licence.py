"""Whether the licence of the pool allows a feature."""

from xapi_py.api.call import Call
from xapi_py.datamodel import errors as err
from xapi_py.datamodel.license import Feature, daemon_features, features


def require_feature(call: Call, key: str, name: str) -> None:
    """Refuse what the pool's licence forbids.

    ``key`` is the key of ``pool.restrictions``, ``name`` the feature as the
    error spells it.  A key that is missing forbids nothing.  Errors:
    LICENCE_RESTRICTION.  Source: brief POOL 15.2.
    """
    restrictions = call.db.row("pool", call.toolstack.pool).restrictions
    feature = _feature(call.model.profile, key)
    if key in restrictions and not feature.allows(restrictions):
        raise err.LICENCE_RESTRICTION(name)


def _feature(profile: str, key: str) -> Feature:
    for feature in (*features(profile), *daemon_features()):
        if feature.key == key:
            return feature
    return Feature(key, positive=False, xencenter_default=None)
