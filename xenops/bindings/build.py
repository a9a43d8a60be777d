"""Compile the bindings for this machine's Xen: ``python -m xenops.bindings.build``.

Needs cffi, a C compiler and Xen's headers and libraries (Debian: gcc and
libxen-dev of the running Xen's version).  The result is kept by the version of
the headers and of our own source, so that it is made once.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cffi import FFI

from xenops.bindings.artifact import (
    LIBRARIES,
    MODULE,
    declarations,
    file_name,
    folders,
    header_version,
    source,
)
from xenops.bindings.errors import BindingError


def compile_into(folder: Path) -> Path:
    """Compile, unless it is there already; gives the file.

    Errors: BindingError with the compiler's complaint.
    """
    target = folder / file_name(header_version())
    if target.exists():
        return target
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        raise BindingError("there is no C compiler: install gcc")
    ffi = FFI()
    ffi.cdef(declarations())
    ffi.set_source(
        MODULE,
        source(),
        libraries=list(LIBRARIES),
        define_macros=[("__XEN_TOOLS__", "1")],
        extra_compile_args=["-O1"],
        py_limited_api=True,
    )
    with tempfile.TemporaryDirectory() as work:
        try:
            made = ffi.compile(tmpdir=work)
        except Exception as error:  # cffi passes on whatever the build tool raises
            raise BindingError(f"the bindings do not compile: {error}") from error
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{os.getpid()}.part"
        shutil.copyfile(made, part)
        part.replace(target)
    return target


def main() -> None:
    """Compile from the command line."""
    parser = argparse.ArgumentParser(prog="python -m xenops.bindings.build", description=__doc__)
    parser.add_argument("--into", type=Path, default=folders()[0], help="folder for the result")
    try:
        print(compile_into(parser.parse_args().into))
    except BindingError as error:
        sys.exit(f"bindings: {error}")


if __name__ == "__main__":
    main()
