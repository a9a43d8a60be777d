"""Archives on disk, one file for each owner, replaced as a whole.

What is in a file that cannot be read is lost; metrics are not worth more.
"""

import json
import logging
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xapi_py.metrics.arrays import np
from xapi_py.metrics.series import RESOLUTIONS, Series

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file holds."""

    series: Series
    wanted: dict[str, bool]


def is_name(uuid: str) -> bool:
    """Whether a text from a client may be part of a file name."""
    return _NAME.fullmatch(uuid) is not None


def _path(folder: Path, kind: str, uuid: str) -> Path:
    return folder / f"{kind}-{uuid}.npz"


def save(folder: Path, kind: str, uuid: str, series: Series, wanted: dict[str, bool]) -> None:
    """Write an owner's archives."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = _path(folder, kind, uuid)
    partial = path.with_suffix(".new")
    head = {"names": series.names, "updated": series.updated, "wanted": wanted}
    rows = {
        f"rows{level}": archive.newest(archive.count)[::-1]
        for level, archive in enumerate(series.archives)
    }
    with partial.open("wb") as file:
        whole: Any = {"totals": series.totals, "known": series.known, **rows}
        np.savez(file, head=np.array(json.dumps(head)), **whole)
    partial.replace(path)


def load(folder: Path, kind: str, uuid: str) -> Kept | None:
    """Read an owner's archives; None when there are none."""
    path = _path(folder, kind, uuid)
    try:
        with np.load(path, allow_pickle=False) as content:
            head = json.loads(str(content["head"]))
            series = Series(head["names"])
            width = len(series.names)
            for level, archive in enumerate(series.archives):
                rows = content[f"rows{level}"]
                for row in rows.reshape(-1, width)[-RESOLUTIONS[level].rows :]:
                    archive.push(row)
            series.totals = content["totals"].reshape(series.totals.shape)
            series.known = content["known"].reshape(series.known.shape)
            series.updated = int(head["updated"])
            return Kept(series, dict(head["wanted"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as problem:
        log.warning("the metrics in %s are lost: %s", path.name, problem)
        return None


def remove(folder: Path, kind: str, uuid: str) -> None:
    """Remove an owner's file."""
    _path(folder, kind, uuid).unlink(missing_ok=True)
