"""Commands of xe as a user types them, one after the other, against a running pool."""

import re
from pathlib import Path

import pytest

from tests.integration.cli_client import CliClient
from tests.integration.running_pool import running
from xapi_py.cli.table import load_tables

pytestmark = pytest.mark.integration

SCENARIO = Path(__file__).with_name("xe_scenario.txt")
_KEEP = re.compile(r"(\w+) := (.*)")
_USE = re.compile(r"\{(\w+)\}")


@pytest.fixture(scope="module")
def pool():
    with running("--profile", "newest") as pool:
        yield pool.start()


@pytest.fixture(scope="module")
def xe(pool):
    return CliClient(pool.host().socket)


def test_a_user_gets_what_the_scenario_says(pool, xe):
    play(xe, SCENARIO.read_text("utf-8"), {"password": pool.host().password})


def test_a_user_of_7_1_gets_it_too():
    """With a template of that time, and without the commands that came later."""
    text = SCENARIO.read_text("utf-8")
    for new, old in (
        ("Debian Bookworm 12", "Debian Jessie 8.0"),
        ("Debian Bokworm 12", "Debian Jesie 8.0"),
    ):
        text = text.replace(new, old)
    known = load_tables("7.1").commands
    later = {c for c in load_tables("newest").commands if c not in known}
    lines = [line for line in text.splitlines() if not later & set(line.split())]
    with running("--profile", "7.1") as pool:
        host = pool.start().host()
        play(CliClient(host.socket), "\n".join(lines), {"password": host.password})


def play(xe: CliClient, scenario: str, kept: dict[str, str]) -> None:
    """Run the lines of a scenario in order."""
    for line in scenario.splitlines():
        if not line or line.startswith("#"):
            continue
        refused = line.startswith("! ")
        text, _, wanted = line.removeprefix("! ").partition(" ~")
        match = _KEEP.fullmatch(text)
        name, text = (match[1], match[2]) if match else ("", text)
        filled = _USE.sub(lambda m: kept[m[1]], text)
        done = xe.line(filled, typed="no")
        assert (done.code != 0) == refused, f"{line}: {done.err or done.out}"
        assert _USE.sub(lambda m: kept[m[1]], wanted.strip()) in done.out + done.err, line
        if name:
            assert done.value, f"{line} printed nothing"
            kept[name] = done.value


def test_every_list_and_every_object_can_be_shown(xe):
    for record in load_tables("newest").records.values():
        assert xe.run(f"{record.prefix}-list", "params=all").code == 0, record.prefix
        found = xe.run(f"{record.prefix}-list", "params=uuid", "--minimal").value
        for uuid in filter(None, found.split(",")[:3]):
            shown = xe.run(f"{record.prefix}-param-list", f"uuid={uuid}")
            assert shown.code == 0, (record.prefix, shown.err)
            assert uuid in shown.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nosuch", "Unknown command: nosuch"),
        ("vm-strt", "Did you mean 'vm-start'?"),
        ("vm-param-get", "Required parameter not found: uuid"),
        ("vm-clone new-name-lable=x", "Did you mean 'new-name-label'"),
        (
            "vdi-create sr-uuid=x name-label=x virtual-size=1 sm-confg:a=b",
            "did you mean 'sm-config:'",
        ),
        ("vm-list name-lable=x", "did you mean 'name-label'"),
        ("vm-start -x", "Syntax error: "),
        ("vm-start", "No matching VMs found"),
        ("host-param-set uuid=nosuch name-label=x", "There is no object with this uuid."),
        ("vm-list --minimal=true", "Unknown field 'minimal=true'"),
        ("network-create name-label=n MTU=many", "expecting an integer"),
        ("event-wait class=nosuch a=b", "Cli listening for class 'nosuch'"),
        ("event-wait class=vm nosuch=b", "key missing: nosuch"),
        ("vm-param-get uuid=x param-name=nam-label", "There is no object with this uuid."),
    ],
)
def test_mistakes_are_explained(xe, line, said):
    done = xe.line(line)
    assert done.code == 1
    assert said in done.err
    assert done.out == ""


def test_a_name_that_two_objects_have_is_refused(xe):
    for _ in range(2):
        xe.must('vm-install template="Other install media" new-name-label=twin')
    done = xe.line("vm-start vm=twin")
    assert done.code == 1
    assert "--multiple required" in done.err
    assert xe.line("vm-start vm=twin --multiple").code == 0
    assert xe.line("vm-uninstall vm=twin --multiple --force").code == 0


def test_failures_of_some_are_reported_for_each(xe):
    first = xe.must('vm-install template="Other install media" new-name-label=some')
    second = xe.must('vm-install template="Other install media" new-name-label=some')
    xe.must(f"vm-start uuid={first}")
    done = xe.line("vm-start vm=some --multiple")
    assert done.code == 1
    assert done.out.startswith(f"operation failed on {first}: VM_BAD_POWER_STATE: [ ")
    assert xe.must(f"vm-list uuid={second} params=power-state --minimal") == "running"
    xe.must("vm-uninstall vm=some --multiple --force")
