"""A supervisor whose daemons are stubs: ``python stub_pool.py FOLDER OPTIONS...``.

FOLDER/plan.json says how each daemon behaves: a map from ``host-1/smd`` and the
like to members ``exit`` (message: it ends at once), ``deaf`` (ignores SIGTERM),
``mute`` (never says it is ready), ``orphan`` (leaves a process behind).
Each start and end is one line of FOLDER/journal.
"""

import sys
from pathlib import Path

from xapi_py import supervisor
from xapi_py.supervise import layout
from xapi_py.supervise.layout import Answer, DaemonSpec
from xapi_py.supervise.options import Options

STUB = r"""
import json, os, signal, socket, subprocess, sys, threading
label, folder, http, ready = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[5])
with open(folder + "/plan.json") as file:
    plan = json.load(file).get(label, {})
def note(what):
    with open(folder + "/journal", "a") as file:
        file.write(f"{what} {label} {os.getpid()} {http}\n")
note("start")
if "exit" in plan:
    sys.exit(plan["exit"])
def end(*_):
    note("end")
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if plan.get("deaf") else end)
if plan.get("orphan"):
    orphan = subprocess.Popen(["sleep", "600"])
    with open(folder + "/orphan", "w") as file:
        file.write(str(orphan.pid))
listening = socket.create_server(("127.0.0.1", http))
port = listening.getsockname()[1]
if not plan.get("mute"):
    answer = {"address": "127.0.0.1", "http": port, "https": port, "socket": label}
    os.write(ready, json.dumps(answer).encode() + b"\n")
    os.close(ready)
while True:
    signal.pause()
"""


def pool(options: Options) -> tuple[DaemonSpec, ...]:
    return tuple(_stub(spec, options) for spec in layout.pool(options))


def _stub(spec: DaemonSpec, options: Options) -> DaemonSpec:
    def command(answer: Answer) -> tuple[str, ...]:
        port = answer.get("http", options.http if spec.name == "xapi" else 0)
        return (sys.executable, "-c", STUB, spec.label, sys.argv[1], str(port))

    return DaemonSpec(spec.host, spec.name, spec.stage, command, spec.log)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(exist_ok=True)
    sys.exit(supervisor.main(sys.argv[2:], pool))
