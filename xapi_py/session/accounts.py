"""Which authenticators a server uses: PAM on a real host, a password in development."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.python.threadpool import ThreadPool

from xapi_py.base import config
from xapi_py.session.directory import (
    Directory,
    DirectoryTable,
    LocalAuthenticator,
    PamAuthenticator,
    PasswordAuthenticator,
    TableDirectory,
)

PAM_THREADS = 4


def authenticator(backend: str, password_file: Path, reactor: Any) -> LocalAuthenticator:
    """Give what checks root's password.

    Errors: OSError when the development password cannot be read.
    """
    if backend == "xen":
        threads = ThreadPool(1, PAM_THREADS, "pam")
        threads.start()
        reactor.addSystemEventTrigger("during", "shutdown", threads.stop)
        return PamAuthenticator(reactor, threads)
    return PasswordAuthenticator("root", password_file)


def directory(section: Mapping[str, object]) -> Directory | None:
    """Give the simulated directory of a host's ``directory`` section, if it has one.

    Errors: ConfigError.
    """
    described = section.get("directory")
    if described is None:
        return None
    table = config.build(described, DirectoryTable, "xapi: directory")
    return TableDirectory(table.users)
