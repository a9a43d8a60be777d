"""Every command of both profiles against a running pool that has one of each object."""

import contextlib
import json

import pytest

from tests.integration.cli_client import CliClient
from tests.integration.running_pool import RunningPool, eventually, running
from xapi_py.cli.table import CommandSpec, FieldSpec, RecordSpec, Tables, load_tables

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NOBODY = "00000000-0000-0000-0000-000000000099"
ALWAYS_NOBODY = (
    *("host-shutdown", "host-reboot", "host-forget", "host-declare-dead", "pool-eject"),
    *("host-power-on", "host-emergency", "pool-emergency", "host-management", "pool-management"),
    *("pool-join", "host-restore", "pool-restore", "host-dump", "host-crash", "pool-designate"),
    *("user-password-change", "session-subject", "host-set-hostname", "pool-ha-enable"),
    *("host-disable-local", "host-bugreport", "host-crashdump"),
)
"""Beginnings of commands that would take the pool away from the tests."""

FURNITURE = """
network-create name-label=furnished
vm-install template="Other install media" new-name-label=furnished
vm-disk-add vm=furnished disk-size=16MiB device=0
vif-create vm-uuid={vm} network-uuid={network} device=0 mac=random
vm-snapshot vm=furnished new-name-label=pictured
vlan-create pif-uuid={pif} vlan=77 network-uuid={network}
appliance-create name-label=furnished
secret-create value=furnished
message-create name=FURNISHED priority=3 body=text host-uuid={host}
blob-create name=furnished pool-uuid={pool}
gpu-group-create name-label=furnished
pvs-site-introduce name-label=furnished
sdn-controller-introduce address=192.0.2.1 tcp-port=6640
vmss-create name-label=furnished type=snapshot frequency=daily
vm-group-create name-label=furnished placement=normal
vtpm-create vm-uuid={vm}
observer-create name-label=furnished
repository-introduce name-label=furnished binary-url=https://192.0.2.1/b source-url=https://192.0.2.1/s update=false
"""  # noqa: E501

RESTARTING = ("host-shutdown-agent",)

TEXTS = {
    **{"mode": "dhcp", "type": "user", "class": "vm", "vlan": "3", "priority": "3"},
    **{"frequency": "daily", "ldaps": "true", "value": "true", "mark": "true", "ca": "true"},
    **{"update": "true", "multiplier": "1.0", "primary_address_type": "IPv4", "device": "9"},
    **{"update-sync-frequency": "daily", "placement": "normal", "mac": "random"},
}
NUMBERS = ("size", "port", "day", "min", "max", "memory", "target", "total", "vcpus", "seconds")
NUMBERS += ("allocation", "quantum", "rate")
ALIASES = {"sr": "sr", "master": "host", "suspend-sr": "sr", "default-sr": "sr", "base": "vdi"}


class Furnished:
    """A pool of one profile, and the uuid of one object of each class."""

    def __init__(self, pool: RunningPool, profile: str) -> None:
        self.xe = CliClient(pool.host().socket)
        self.tables: Tables = load_tables(profile)
        self.host = self.xe.must("host-list --minimal")
        known = {
            "host": self.host,
            "pool": self.xe.must("pool-list --minimal"),
            "pif": self.xe.must(f"pif-list device=eth1 host-uuid={self.host} --minimal"),
        }
        for line in filter(None, FURNITURE.split("\n")):
            if line.split()[0] not in self.tables.commands:
                continue
            done = self.xe.line(line.format(**known))
            assert done.code == 0, (line, done.err)
            if line.startswith(("network-create", "vm-install")):
                known["network" if line.startswith("network") else "vm"] = done.value
        self.uuids: dict[str, str] = {}
        for record in self.tables.records.values():
            found = self.xe.run(f"{record.prefix}-list", "params=uuid", "--minimal").value
            if found:
                self.uuids[record.prefix] = found.split(",")[-1]
        self.uuids |= known

    def uuid(self, command: CommandSpec, name: str) -> str:
        """Choose what a parameter that takes a uuid gets."""
        if command.name.startswith(ALWAYS_NOBODY) or "destroy" in command.name:
            return NOBODY
        prefix = name.removesuffix("uuids").removesuffix("uuid").rstrip("-")
        if not prefix:
            words = command.name.split("-")
            ends = range(len(words) - 1, 0, -1)
            names = ("-".join(words[:end]) for end in ends)
            prefix = next((n for n in names if n in self.tables.records), "")
        return self.uuids.get(ALIASES.get(prefix, prefix), NOBODY)

    def value(self, command: CommandSpec, name: str) -> str:
        """Choose what a parameter gets."""
        if "uuid" in name:
            return self.uuid(command, name)
        if command.name == "vmss-create" and name == "type":
            return "snapshot"
        return TEXTS.get(name) or ("5" if name.endswith(NUMBERS) else "x")


@pytest.fixture(scope="module", params=["newest", "7.1"])
def furnished(request):
    with running("--profile", request.param) as pool:
        yield Furnished(pool.start(), request.param)


def test_every_list_and_every_object_is_shown(furnished):
    xe = furnished.xe
    for record in furnished.tables.records.values():
        listed = xe.run(f"{record.prefix}-list", "params=all")
        assert listed.code == 0, (record.prefix, listed.err)
        uuid = furnished.uuids.get(record.prefix)
        if uuid is None:
            continue
        whole = xe.run(f"{record.prefix}-param-list", f"uuid={uuid}")
        assert whole.code == 0, (record.prefix, whole.err)
        for field in record.fields.values():
            got = xe.run(f"{record.prefix}-param-get", f"uuid={uuid}", f"param-name={field.name}")
            assert got.code == 0, (record.prefix, field.name, got.err)
        form = xe.run(f"{record.prefix}-param-list", f"uuid={uuid}", "--output=json")
        (typed,) = json.loads(form.out)
        assert list(typed) == [f.name for f in record.fields.values() if not f.hidden]
    assert len(furnished.uuids) >= 22, sorted(furnished.uuids)


def written_back(xe: CliClient, record: RecordSpec, field: FieldSpec, uuid: str) -> str:
    """Set a field to what it is, add and remove a key; gives what went wrong."""
    prefix = record.prefix
    named = (f"uuid={uuid}", f"param-name={field.name}")
    now = xe.run(f"{prefix}-param-get", *named).out.removesuffix("\n")
    if field.setter and not field.is_map and now not in ("<not in database>", "<hidden>"):
        done = xe.run(f"{prefix}-param-set", f"uuid={uuid}", f"{field.name}={now}")
        if done.code:
            return done.err
    if field.takes_pairs and field.adder and field.name in ("other-config", "gui-config"):
        for words in (
            (f"{prefix}-param-set", f"uuid={uuid}", f"{field.name}:test=1"),
            (f"{prefix}-param-add", *named, "other=2"),
            (f"{prefix}-param-remove", *named, "param-key=test"),
            (f"{prefix}-param-remove", *named, "param-key=other"),
        ):
            done = xe.run(*words)
            if done.code:
                return f"{words}: {done.err}"
        assert xe.run(f"{prefix}-param-get", *named).out.removesuffix("\n") == now
    return ""


REFUSED = (
    *("VM_BAD_POWER_STATE", "OPERATION_NOT_ALLOWED", "VALUE_NOT_SUPPORTED", "FEATURE"),
    *("NOT_IMPLEMENTED", "INVALID_VALUE", "MESSAGE_REMOVED", "OTHER_OPERATION"),
)


def test_every_field_can_be_written_with_what_it_is(furnished):
    xe, refused = furnished.xe, []
    for record in furnished.tables.records.values():
        uuid = furnished.uuids.get(record.prefix)
        if uuid is None or f"{record.prefix}-param-set" not in furnished.tables.commands:
            continue
        for field in record.fields.values():
            problem = written_back(xe, record, field, uuid)
            assert "[log " not in problem, (record.prefix, field.name, problem)
            if problem:
                refused.append((record.prefix, field.name, problem))
    assert len(refused) <= 13, "\n".join(map(str, refused))


def test_every_command_answers(furnished):
    """With the objects the pool has: a result, or a reason on standard error."""
    xe, done_well = furnished.xe, set()
    for command in furnished.tables.commands.values():
        if command.verb or command.name in RESTARTING:
            continue
        words = [f"{n}={furnished.value(command, n)}" for n in command.required]
        if any(f.endswith("-selectors") for f in command.flags):
            # of all objects none: what selected ones do is in the scenario
            words.append("uuid=" + NOBODY)
        done = xe.run(command.name, *words, typed="no", files={"x": b"content"})
        assert done.code in (0, 1), command.name
        assert (done.code == 0) or done.err or done.out, command.name
        assert "[log " not in done.err, (command.name, words, done.err)
        assert "Traceback" not in done.err + done.out, command.name
        assert "Syntax error" not in done.err, command.name
        assert done.code == 1 or "Error code" not in done.err, command.name
        if done.code == 0:
            done_well.add(command.name)
    assert xe.must("host-list --minimal") == furnished.host
    assert len(done_well) > 60, sorted(done_well)
    assert xe.run("host-shutdown-agent").code == 0

    def back() -> bool:
        with contextlib.suppress(OSError, AssertionError):
            return xe.run("host-list", "--minimal").value == furnished.host
        return False

    eventually(back, "the server is back")
