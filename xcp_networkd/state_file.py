"""Small JSON files that are whole or old, never half."""

import os
from pathlib import Path

import orjson


def write(path: Path, value: object, *, durable: bool) -> None:
    """Replace a file's content at once; ``durable`` means against loss of power too."""
    temporary = path.with_suffix(".new")
    with open(temporary, "wb") as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2))
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)


def read(path: Path) -> dict[str, object] | None:
    """Give a file's content, None when there is no such file."""
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not an object")
    return content
