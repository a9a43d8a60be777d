"""Permissions: their names and who has them."""

from collections.abc import Iterable, Iterator, Mapping

from xapi_py.datamodel.model import HttpHandler, MessageDef, Role

CLIENT_CERT = "client-cert"
LOCAL_ROOT = "local-root"


def key_permission(message: str, key: str) -> str:
    """Name the permission on a map key, or key pattern, of a message."""
    return f"{message}/key:{key}"


def _granted(
    messages: Iterable[MessageDef],
    handlers: Iterable[HttpHandler],
    extra: Mapping[str, str],
) -> Iterator[tuple[str, str, bool]]:
    """Give (permission, lowest role, whether client-cert has it marked)."""
    for m in messages:
        if not m.needs_session and m.role == LOCAL_ROOT:
            continue
        yield m.wire_name, m.role, m.client_cert
        for key, role in m.key_roles.items():
            yield key_permission(m.wire_name, key), role, False
    for h in handlers:
        yield f"http/{h.name}", h.role, h.client_cert
        for action, role in h.sub.items():
            yield f"http/{h.name}/{action}", role, False
    for name, role in extra.items():
        yield name, role, False


def permission_table(
    messages: Iterable[MessageDef],
    handlers: Iterable[HttpHandler],
    extra: Mapping[str, str],
    roles: Mapping[str, Role],
) -> tuple[dict[str, frozenset[str]], tuple[str, ...]]:
    """Build the permissions of a profile.

    Answers the roles by permission in lower case, and the permissions in
    their own spelling, in order.  What needs ``local-root`` is no permission.
    """
    ranked = sorted((r for r in roles.values() if r.rank >= 0), key=lambda r: r.rank)
    upto = {r.name: frozenset(o.name for o in ranked if o.rank <= r.rank) for r in ranked}
    lowest = ranked[-1].name
    holders: dict[str, frozenset[str]] = {}
    names = []
    for name, role, marked in _granted(messages, handlers, extra):
        if role == LOCAL_ROOT:
            continue
        holding = upto[role]
        if CLIENT_CERT in roles and (marked or role == lowest):
            holding |= {CLIENT_CERT}
        holders[name.lower()] = holding
        names.append(name)
    return holders, tuple(names)
