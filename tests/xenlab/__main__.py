"""The command scripts/xenlab."""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.xenlab import cache, image, lab, qemu
from tests.xenlab.errors import LabError, LabUnavailable

DESCRIPTION = "Hosts with real Xen (or plain Debian) in an emulator, for tests."
EPILOG = """
  scripts/xenlab up --name mine            one host with Xen 4.17; seconds once the image is made
  scripts/xenlab up --name mine --hosts 2  two, connected by their NICs eth1 and eth2
  scripts/xenlab up --name mine --plain    Debian on its own kernel, without Xen
  scripts/xenlab run --name mine 'xl list' a command in the first host
  scripts/xenlab shell --name mine         commands line by line
  scripts/xenlab project --name mine       copy this source tree to /opt/xapi-py (what changed)
  scripts/xenlab down --name mine

More: doc/xenlab.md.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="scripts/xenlab",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *, host: bool = False) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--name", default="lab", help="the lab (default: lab)")
        if host:
            command.add_argument("--host", type=int, default=1, help="which host (default: 1)")
        return command

    _add_up(add("up", "start a lab"))
    add("down", "end a lab").add_argument("--all", action="store_true", help="all labs")
    run = add("run", "run a command in a host; its exit code is the command's", host=True)
    run.add_argument("--timeout", type=float, default=600.0, metavar="S")
    run.add_argument("--stdin", action="store_true", help="pass standard input on")
    run.add_argument("words", nargs="+", metavar="TEXT", help="shell text")
    add("shell", "run commands line by line", host=True)
    add("project", "copy this source tree to /opt/xapi-py of all hosts")
    for name, text in (("snapshot", "keep a state"), ("restore", "go back to a kept state")):
        add(name, text).add_argument("state", help="its name")
    put = add("put", "copy a file into a host", host=True)
    get = add("get", "copy a file out of a host", host=True)
    for command in (put, get):
        command.add_argument("source")
        command.add_argument("target")
    add("forward", "lead a local port to one of the host", host=True).add_argument("port", type=int)
    add("logs", "copy logs to a folder").add_argument("folder", type=Path)
    commands.add_parser("list", help="names of the running labs")
    commands.add_parser(
        "image", help="make the image and what a lab starts from, or say that it is there"
    )
    commands.add_parser("prune", help="remove images nobody used for two weeks")
    return top


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("--hosts", type=int, default=1, choices=(1, 2))
    up.add_argument("--plain", action="store_true", help="Debian's own kernel, no Xen")
    up.add_argument("--nics", type=int, default=2, help="NICs besides eth0 (default: 2)")
    up.add_argument("--disks", type=int, default=2, help="blank disks (default: 2)")
    up.add_argument("--cpus", type=int, default=1)
    up.add_argument("--iommu", action="store_true", help="an IOMMU, and a card (e1000) for a guest")
    up.add_argument("--memory", type=int, default=0, metavar="MIB")
    up.add_argument("--cpu", default="", help="QEMU's name of the processor")
    up.add_argument("--minutes", type=float, default=60.0, help="ends itself after (default: 60)")
    up.add_argument("--project", action="store_true", help="copy this source tree in")
    up.add_argument("--wait", action="store_true", help="stay, and end the lab with Ctrl-C")


def flavours(options: argparse.Namespace) -> list[qemu.Flavour]:
    """Give the machines that the options of ``up`` ask for."""
    fast = qemu.accelerator() == "kvm"
    return [
        qemu.Flavour(
            xen=not options.plain,
            number=number,
            cpus=options.cpus,
            memory=options.memory or (2048 if options.plain else 4096),
            nics=options.nics,
            disks=options.disks,
            accelerator="kvm" if fast else "tcg",
            cpu=options.cpu or (qemu.KVM_CPU if fast else qemu.TCG_CPU),
            iommu=options.iommu,
        )
        for number in range(1, options.hosts + 1)
    ]


def up(options: argparse.Namespace) -> int:
    began = time.monotonic()
    made = lab.up(
        options.name,
        flavours(options),
        lifetime=options.minutes * 60,
        detached=not options.wait,
    )
    if options.project:
        for host in made.hosts:
            host.put_project()
    print(f"lab {made.name} is up after {time.monotonic() - began:.1f} s")
    if options.wait:
        with contextlib.suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            while all(host.process.alive() for host in made.hosts):
                time.sleep(0.5)
        made.down()
    return 0


def shell(host: lab.Host) -> int:
    """Run lines of standard input one by one; each is a command of its own, kept is the folder."""
    folder = "/root"
    while True:
        if sys.stdin.isatty():
            print(f"{host.name}:{folder}# ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or line.strip() == "exit":
            return 0
        done = host.run(
            f"cd {folder}\n{line}\ncode=$?; pwd >/run/lab-shell; exit $code", timeout=3600
        )
        print(done.stdout + done.stderr, end="", flush=True)
        folder = host.run("cat /run/lab-shell").stdout.strip() or folder


def in_host(options: argparse.Namespace, host: lab.Host) -> int:
    match options.command:
        case "run":
            data = sys.stdin.buffer.read() if options.stdin else None
            done = host.run(" ".join(options.words), data, options.timeout)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return int(done.returncode)
        case "shell":
            return shell(host)
        case "put":
            source = Path(options.source)
            host.put(options.target, source.read_bytes(), source.stat().st_mode & 0o777)
        case "get":
            Path(options.target).write_bytes(host.get(options.source))
        case "forward":
            print(f"127.0.0.1:{host.forward(options.port)}")
    return 0


def in_lab(options: argparse.Namespace) -> int:
    if options.command == "down" and options.all:
        for name in lab.names():
            lab.find(name).down()
        return 0
    found = lab.find(options.name)
    match options.command:
        case "down":
            found.down()
        case "logs":
            found.collect_logs(options.folder)
        case "project" | "snapshot" | "restore":
            for host in found.hosts:
                if options.command == "project":
                    host.put_project()
                else:
                    getattr(host, options.command)(options.state)
        case _:
            if not 1 <= options.host <= len(found.hosts):
                raise LabError(f"lab {found.name} has {len(found.hosts)} hosts")
            return in_host(options, found.hosts[options.host - 1])
    return 0


def main() -> int:
    options = parser().parse_args()
    try:
        match options.command:
            case "up":
                return up(options)
            case "image":
                for kind in (["--hosts=2"], ["--plain"], ["--iommu"]):
                    for flavour in flavours(parser().parse_args(["up", *kind])):
                        print(lab.ready_state(flavour, image.image()))
            case "list":
                print("".join(f"{name}\n" for name in lab.names()), end="")
            case "prune":
                print("".join(f"{name}\n" for name in cache.prune()), end="")
            case _:
                return in_lab(options)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
        print(f"scripts/xenlab: {error}{notes}", file=sys.stderr)
        return 3 if isinstance(error, LabUnavailable) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
