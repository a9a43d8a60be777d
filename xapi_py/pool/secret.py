"""The secret the hosts of a pool share: whoever has it is the superuser."""

from pathlib import Path
from typing import Final

from xapi_py.base.names import new_uuid
from xapi_py.base.private_file import replace

POOL_SECRET: Final = "ptoken"
"""Its file in the host's state folder."""


def new_secret() -> str:
    """Make a secret in the form of the real toolstack's."""
    return "/".join(new_uuid() for _ in range(3))


def keep_secret(state: Path, secret: str) -> None:
    """Write the secret; blocks until it is on disk."""
    replace(state / POOL_SECRET, f"{secret}\n".encode())
