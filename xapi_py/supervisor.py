"""What scripts/run executes: start the daemons of a pool and keep them running."""

import contextlib
import os
import sys
from pathlib import Path

import yaml

from xapi_py.base import log as log_setup
from xapi_py.base import simulator_config
from xapi_py.base.config import ConfigError
from xapi_py.supervise import background, layout, state_folder, systemd
from xapi_py.supervise.layout import Answer, Pool
from xapi_py.supervise.options import Options, UsageError, parse
from xapi_py.supervise.watch import READY_S, Supervisor


def main(argv: list[str] | None = None, pool: Pool = layout.pool) -> int:
    """Run a pool until it is told to stop; gives the exit status.

    0 after an orderly stop, 1 when a daemon cannot start, 2 for a bad request.
    """
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        if options.stop:
            return background.stop(options.state)
        specs = pool(options)
        state_folder.make(options.state)
        lock = state_folder.lock(options.state)
        secret = _prepare(options)
    except (UsageError, ConfigError) as error:
        print(f"scripts/run: {error}", file=sys.stderr)
        return 2
    announcer = background.Announcer()
    if options.detach:
        announcer = background.detach(options.state / "supervisor.log")
        state_folder.sign(lock)
    log_setup.configure(os.environ.get("XAPI_LOG_LEVEL", "INFO"))

    def ready(answers: dict[int, Answer]) -> None:
        if options.ready_file:
            state_folder.write(options.ready_file, state_folder.ready_text(secret, answers))
        announcer.tell(_banner(options, secret, answers))
        systemd.tell("READY=1")

    supervisor = Supervisor(specs, lock, ready, ready_s=_patience_s())
    try:
        status = supervisor.run()
    finally:
        _forget(options.ready_file)
    if supervisor.problem:
        announcer.tell(f"scripts/run: {supervisor.problem}", failed=True)
    return status


def _patience_s() -> float:
    """Give how long a daemon may take to start; emulated machines need more than the default."""
    named = os.environ.get("XAPI_START_S", "")
    return float(named) if named.isdigit() else READY_S


def _prepare(options: Options) -> str:
    """Write the files the daemons read and give the password of root."""
    _forget(options.ready_file)
    if options.backend == "simulator":
        described = _described(options.simulator)
        if options.bare:
            described["bare"] = True
        text = yaml.safe_dump(described, sort_keys=False)
        state_folder.write(layout.effective_simulator(options), text)
    return state_folder.password(layout.password_file(options), options.password)


def _described(path: Path | None) -> dict[str, object]:
    """Read the user's simulator file; it is checked before any daemon sees it."""
    if path is None:
        return {}
    simulator_config.load(path)
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _forget(path: Path | None) -> None:
    if path:
        with contextlib.suppress(OSError):
            path.unlink()


def _banner(options: Options, secret: str, answers: dict[int, Answer]) -> str:
    kind = "Xen" if options.backend == "xen" else "simulated"
    lines = [f"xapi-py is ready: {len(answers)} {kind} host(s), profile {options.profile}"]
    for host in sorted(answers):
        answer = answers[host]
        address, http, https = (answer.get(name) for name in ("address", "http", "https"))
        lines.append(f"  https://{address}:{https}   http://{address}:{http}")
        lines.append(f"  unix socket {answer.get('socket')}")
    lines += [
        f"  user root, password {secret}",
        f"  state and logs in {options.state}",
    ]
    stop = f"scripts/run --stop --state {options.state}"
    lines.append(f"Stop with {stop}" if options.detach else "Ctrl-C stops everything.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
