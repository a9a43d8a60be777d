"""Run the storage daemon: ``python -m sm --socket PATH --state DIR [--config FILE]``."""

from typing import Any

from sm import config, setup
from sm.drivers.child_process import RealChildren
from xapi_py.base import service
from xapi_py.base.config import ConfigError


async def start(arguments: service.Arguments, reactor: Any) -> service.Service:
    """Start the backend that was asked for."""
    if arguments.backend not in ("simulator", "xen"):
        raise ConfigError(f"unknown storage backend {arguments.backend!r}")
    settings = config.load(arguments.config, arguments.host)
    if arguments.backend == "xen":
        settings = setup.settings_for_xen(settings, arguments.state)
    run = setup.thread_runner(reactor)
    children = RealChildren(reactor)
    methods = await setup.build(settings, arguments.state, reactor, run, children)
    return service.Service(methods)


def main() -> None:
    """Entry point of the daemon."""
    service.main("smd", start)


if __name__ == "__main__":
    main()
