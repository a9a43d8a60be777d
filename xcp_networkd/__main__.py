"""Run the network daemon: ``python -m xcp_networkd --socket PATH --state DIR [--config FILE]``."""

from typing import Any

from xapi_py.base import service
from xapi_py.base.config import ConfigError
from xcp_networkd import config, host_setup, simulator_setup


async def setup(arguments: service.Arguments, reactor: Any) -> service.Service:
    """Start the backend that was asked for."""
    if arguments.backend == "simulator":
        host = config.load(arguments.config, arguments.host)
        return service.Service(await simulator_setup.build(host, arguments.state, reactor))
    if arguments.backend not in ("xen", "bridge", "openvswitch"):
        raise ConfigError(f"unknown network backend {arguments.backend!r}")
    system = config.load_system(arguments.config, arguments.backend, arguments.state)
    return await host_setup.build(system, arguments.state, reactor)


def main() -> None:
    """Entry point of the daemon."""
    service.main("networkd", setup)


if __name__ == "__main__":
    main()
