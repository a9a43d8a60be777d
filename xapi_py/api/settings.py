"""Messages that only check a value and write it: one line each.

A ``Setting`` says which fields the arguments after the object go to, what is
written besides, and what refuses a value.  Fan-out over all hosts is a
``PoolSetting`` that names the host's message.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

Check = Callable[..., None]
"""Called as ``check(call, ref, *values)``; raises the refusal."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One message that writes fields of its object.

    ``fields`` take the arguments in order; ``constants`` are written as they
    stand.  Nothing is written when ``check`` raises.
    """

    message: str
    fields: tuple[str, ...] = ()
    check: Check | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cls(self) -> str:
        """The class of the object."""
        return self.message.partition(".")[0]

    def apply(self, call: Call, ref: Ref, *values: object) -> None:
        """Check and write.  Errors: HANDLE_INVALID and those of the check."""
        call.db.row(self.cls, ref)
        if self.check is not None:
            self.check(call, ref, *values)
        changes = {**dict(zip(self.fields, values, strict=False)), **self.constants}
        with call.db.transaction() as tx:
            tx.update(self.cls, ref, **changes)


@dataclass(frozen=True, slots=True)
class PoolSetting:
    """A pool's message that does a host's message on every host, or on none."""

    message: str
    on_hosts: Setting

    def apply(self, call: Call, pool: Ref, *values: object) -> None:
        """Write on all hosts in one transaction.  Errors: as the host's."""
        call.db.row("pool", pool)
        with call.db.transaction():
            for host in tuple(call.db.refs("host")):
                self.on_hosts.apply(call, host, *values)


def register(settings: "Iterable[Setting | PoolSetting]") -> None:
    """Make messages of settings."""
    for setting in settings:
        message(setting.message)(setting.apply)


def at_least(name: str, minimum: int) -> Check:
    """Refuse smaller numbers with INVALID_VALUE under ``name``."""

    def check(call: Call, ref: Ref, value: int, *others: object) -> None:
        if value < minimum:
            raise err.INVALID_VALUE(name, str(value))

    return check


def within(name: str, minimum: int, maximum: int) -> Check:
    """Refuse numbers outside a range with INVALID_VALUE under ``name``."""

    def check(call: Call, ref: Ref, value: int, *others: object) -> None:
        if not minimum <= value <= maximum:
            raise err.INVALID_VALUE(name, str(value))

    return check


def refused_with(error: Callable[[], Exception]) -> Check:
    """Refuse every value."""

    def check(call: Call, ref: Ref, *values: object) -> None:
        raise error()

    return check


def existing(cls: str) -> Check:
    """Refuse references to objects that do not exist with HANDLE_INVALID."""

    def check(call: Call, ref: Ref, refs: "Ref | tuple[Ref, ...]") -> None:
        for one in (refs,) if isinstance(refs, str) else refs:
            call.db.row(cls, one)

    return check
