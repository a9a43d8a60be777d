"""Find the compiled bindings for the running Xen, making them where that is possible."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from xenops.bindings import artifact
from xenops.bindings.errors import BindingError

HYPERVISOR: Final = Path("/sys/hypervisor")
_TOP: Final = Path(__file__).parents[2]


def running_version() -> tuple[int, int]:
    """Give the version of Xen this control domain runs on.  Errors: BindingError."""
    try:
        if (HYPERVISOR / "type").read_text().strip() != "xen":
            raise BindingError("this machine does not run on Xen")
        version = HYPERVISOR / "version"
        return int((version / "major").read_text()), int((version / "minor").read_text())
    except OSError as error:
        raise BindingError("this machine does not run on Xen") from error


def library(version: tuple[int, int]) -> Any:
    """Give the compiled module for a version of Xen.

    Errors: BindingError saying what is missing.
    """
    name = artifact.file_name(version)
    for folder in artifact.folders():
        if (folder / name).exists():
            return _module(folder / name)
    shown = ".".join(map(str, version))
    try:
        headers = artifact.header_version()
    except BindingError as error:
        raise BindingError(f"there are no bindings for Xen {shown}, and {error}") from error
    if headers != version:
        theirs = ".".join(map(str, headers))
        raise BindingError(f"Xen {shown} is running, but the headers are of Xen {theirs}")
    return _module(_compiled(artifact.folders()[0] / name))


def _compiled(wanted: Path) -> Path:
    command = [sys.executable, "-m", "xenops.bindings.build", "--into", str(wanted.parent)]
    made = subprocess.run(command, capture_output=True, text=True, cwd=_TOP, check=False)
    if made.returncode != 0:
        raise BindingError(made.stderr.strip().rpartition("\n")[2] or "the build failed")
    return wanted


def _module(path: Path) -> Any:
    known = sys.modules.get(artifact.MODULE)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(artifact.MODULE, path)
    if spec is None or spec.loader is None:
        raise BindingError(f"{path} is no extension module")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise BindingError(f"{path}: {error}; are Xen's libraries of the same version?") from error
    sys.modules[artifact.MODULE] = module
    return module
