"""The compiled bindings as a file: what it is made of, its name, where it is kept."""

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from xenops.bindings.errors import BindingError

MODULE: Final = "_xenops_xen"
HERE: Final = Path(__file__).parent
HEADERS: Final = Path("/usr/include")
LIBRARIES: Final = ("xenctrl", "xenguest", "xentoollog")


def declarations() -> str:
    """Give what the C compiler checks our calls against."""
    return "\n".join(path.read_text("utf-8") for path in sorted((HERE / "cdef").glob("*.h")))


def source() -> str:
    """Give the C source that the calls are compiled with."""
    return "\n".join(path.read_text("utf-8") for path in sorted(HERE.glob("*.c")))


def fingerprint() -> str:
    """Give a short name for this state of our source."""
    return hashlib.sha256((declarations() + source()).encode()).hexdigest()[:12]


def folders() -> list[Path]:
    """Give where compiled bindings are looked for, the first also where they are put."""
    named = os.environ.get("XAPI_PY_BINDINGS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    system = Path("/var/lib/xapi-py/bindings")
    own = system if os.geteuid() == 0 else cache / "xapi-py" / "bindings"
    found = [Path(named)] if named else []
    return [*found, own, system, cache / "xapi-py" / "bindings"]


def header_version() -> tuple[int, int]:
    """Give the Xen version of the installed headers.  Errors: BindingError."""
    try:
        text = (HEADERS / "xen" / "domctl.h").read_text("utf-8")
    except OSError as error:
        raise BindingError(
            "Xen's headers are missing: install libxen-dev of the running Xen's version"
        ) from error
    found = re.search(r"define\s+XEN_DOMCTL_INTERFACE_VERSION\s+(0x[0-9a-fA-F]+)", text)
    version = {0x15: (4, 17), 0x16: (4, 18)}.get(int(found.group(1), 16) if found else 0)
    if version is None:
        number = found.group(1) if found else "unknown"
        raise BindingError(f"the headers' control interface {number} is none we know (4.17, 4.18)")
    return version


def file_name(version: tuple[int, int]) -> str:
    """Give the name of the compiled file for a version of Xen."""
    major, minor = version
    return f"xen-{major}.{minor}-{fingerprint()}.abi3.so"
