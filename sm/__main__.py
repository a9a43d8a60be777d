"""Run the storage daemon: ``python -m sm --socket PATH --state DIR [--config FILE]``."""

from typing import Any

from sm import config, simulator_setup
from xapi_py.base import service
from xapi_py.base.config import ConfigError


async def setup(arguments: service.Arguments, reactor: Any) -> service.Service:
    """Start the backend that was asked for."""
    if arguments.backend != "simulator":
        raise ConfigError(f"unknown storage backend {arguments.backend!r}")
    settings = config.load(arguments.config, arguments.host)
    run = simulator_setup.thread_runner(reactor)
    return service.Service(await simulator_setup.build(settings, arguments.state, reactor, run))


def main() -> None:
    """Entry point of the daemon."""
    service.main("smd", setup)


if __name__ == "__main__":
    main()
