import contextlib
import os
import select
import signal
import subprocess
import sys

PARENT = """
import subprocess, sys
from xapi_py.base.lifeline import die_with_parent
child = subprocess.Popen(["sleep", "600"], preexec_fn=die_with_parent(), start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_tied_child_dies_with_a_killed_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    watched = os.pidfd_open(child)
    parent.kill()
    parent.communicate()
    try:
        assert select.select([watched], [], [], 10)[0], "the child outlived its parent"
    finally:
        os.close(watched)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
