from pathlib import Path

import pytest

from xapi_py.base import simulator_config
from xapi_py.base.config import ConfigError
from xapi_py.base.simulator_config import HostConfig, SimulatorConfig, load


def written(folder: Path, text: str) -> Path:
    path = folder / "simulator.yaml"
    path.write_text(text)
    return path


def test_no_file_gives_four_cards_with_addresses_of_their_own():
    hosts = [load(None).host(n) for n in (1, 2, 250)]
    macs = [nic.mac for host in hosts for nic in host.nics]
    assert [len(h.nics) for h in hosts] == [4, 4, 4]
    assert len(set(macs)) == 12
    assert [nic.device for nic in hosts[1].nics] == ["eth0", "eth1", "eth2", "eth3"]


def test_a_host_keeps_its_uuid_from_run_to_run():
    assert load(None).host(2).uuid == SimulatorConfig().host(2).uuid
    assert load(None).host(1).uuid != load(None).host(2).uuid


def test_described_members_win_over_made_up_ones(tmp_path):
    text = """
        hosts:
          - {name: alpha, memory_mib: 4096, cpu: {count: 2}, nics: [{mac: 'aa:bb:cc:00:00:01'}]}
    """
    host = load(written(tmp_path, text)).host(1)
    assert (host.name, host.memory_mib, host.cpu.count) == ("alpha", 4096, 2)
    assert [(n.device, n.mac) for n in host.nics] == [("eth0", "aa:bb:cc:00:00:01")]


def test_a_hosts_section_goes_over_the_common_one(tmp_path):
    text = "xenops: {start_ms: 5, stop_ms: 6}\nhosts: [{xenops: {stop_ms: 9}}]"
    loaded = load(written(tmp_path, text))
    assert loaded.host(1).xenops == {"start_ms": 5, "stop_ms": 9}
    assert loaded.host(2).xenops == {"start_ms": 5, "stop_ms": 6}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("hosts: 3", "hosts: expected a list"),
        ("hosts: [{memory_mib: 12}]", "memory_mib must be at least"),
        ("hosts: [{cpu: {count: 3, sockets: 2}}]", "multiple of sockets"),
        ("hosts: [{cpus: 3}]", "unknown member 'cpus'"),
        ("bare: 1", "bare: expected bool"),
        ("- a", "expected a mapping"),
        ("{a: [", "expected"),
    ],
)
def test_mistakes_are_named(tmp_path, text, named):
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert named in str(caught.value)


def test_too_many_hosts_or_cards_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 16 nics"):
        HostConfig(nics=(simulator_config.NicConfig(),) * 17)
    with pytest.raises(ValueError, match="not within"):
        SimulatorConfig().host(251)
