"""What the README shows works as it stands there."""

import re
import subprocess
import sys
import textwrap

import pytest

from tests.integration.journey import destroy_vm, user
from tests.unit.source_tree import ROOT

pytestmark = pytest.mark.integration


def test_the_script_of_the_readme_starts_a_vm(shared_server):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^    import XenAPI\n(?:    .*\n|\n)+", text, re.MULTILINE)
    assert found
    host = shared_server.host()
    script = textwrap.dedent(found[0])
    assert "http://127.0.0.1:8080" in script
    script = script.replace("http://127.0.0.1:8080", host.http_url)
    script = script.replace("the printed password", host.password)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert f"https://{host.address}:{host.https}/console?" in ran.stdout, ran.stderr
    with user(host) as me:
        destroy_vm(me, me.one("VM", "my VM"))
