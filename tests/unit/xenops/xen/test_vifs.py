"""Network devices coming and going, against drivers and a guest in memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.xenops.factories import begun, done, make_md, outcome
from tests.unit.xenops.xen.device_bench import DOMID, HOME, DeviceBench
from xapi_py.base.rpc.errors import RpcError
from xenops.backends.contract import VifStat
from xenops.backends.xen.devices.vifs import Vifs
from xenops.metadata import Vif

VIF = Vif("0", "00:16:3e:00:00:01", "xenbr0", other_config={"ethtool-tx": "off"})
BACKEND = f"/local/domain/0/backend/vif/{DOMID}/0"


class Bench(DeviceBench):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, hvm=True)
        self.vifs = self.fresh()

    def fresh(self) -> Vifs:
        """Give the devices of a daemon that has just started."""
        return Vifs(self.host, self.domains, self.kernel, self.network)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_network_device_comes_and_goes_and_nothing_is_left(bench: Bench) -> None:
    done(bench.vifs.plug(DOMID, VIF))
    assert bench.network.bridges == {"vif7.0": "xenbr0"}
    assert bench.kernel.interfaces == {"vif7.0": {"tx": False}}
    assert bench.server.value(f"{BACKEND}/hotplug-status") == "connected"
    assert bench.vifs.stat(DOMID) == {
        "0": VifStat(True, "00:16:3e:00:00:01", "xenbr0", True, "network_default")
    }
    assert bench.vifs.connected(DOMID)
    done(bench.vifs.unplug(DOMID, "0", force=False))
    assert (bench.leftovers(), bench.network.bridges) == ([], {})


@pytest.mark.parametrize("fault", ["bridge", "interface", "driver"])
def test_a_plug_that_fails_leaves_nothing(bench: Bench, fault: str) -> None:
    bench.network.refuse = fault == "bridge"
    bench.kernel.refuse = "No such device" if fault == "interface" else ""
    bench.drivers.broken = "-12 creating interface" if fault == "driver" else ""
    with pytest.raises(RpcError):
        done(bench.vifs.plug(DOMID, VIF))
    bench.server.drop("/local/domain/0/error")
    assert (bench.leftovers(), bench.network.bridges, bench.vifs.stat(DOMID)) == ([], {}, {})


def test_a_guest_that_says_nothing_can_be_forced(bench: Bench) -> None:
    done(bench.vifs.plug(DOMID, VIF))
    bench.drivers.silent = True
    unplugging = begun(bench.vifs.unplug(DOMID, "0", force=False))
    bench.clock.advance(301)
    with pytest.raises(RpcError, match="Device_detach_rejected"):
        outcome(unplugging)
    done(bench.vifs.unplug(DOMID, "0", force=True))
    assert (bench.leftovers(), bench.network.bridges) == ([], {})


def test_moving_locking_and_the_carrier(bench: Bench) -> None:
    done(bench.vifs.plug(DOMID, VIF))
    done(bench.vifs.update(DOMID, replace(VIF, bridge="xenbr1")))
    assert bench.network.bridges == {"vif7.0": "xenbr1"}
    assert bench.server.value(f"{BACKEND}/bridge") == "xenbr1"
    done(bench.vifs.update(DOMID, replace(VIF, bridge="xenbr1", locking_mode="disabled")))
    assert bench.network.locked == [("vif7.0", "disabled")]
    assert bench.server.value(f"{HOME}/device/vif/0/disconnect") == "1"
    assert bench.vifs.stat(DOMID)["0"].carrier is False
    again = bench.fresh()
    done(again.recover(DOMID))
    assert again.stat(DOMID) == bench.vifs.stat(DOMID)
    with pytest.raises(RpcError, match="Device_not_connected"):
        done(bench.vifs.update(DOMID, replace(VIF, device="1")))


def test_the_emulated_device_goes_where_the_other_one_is(bench: Bench) -> None:
    md = make_md()
    done(bench.vifs.plug(DOMID, md.vifs[0]))
    done(bench.vifs.join_taps(DOMID, md, ["0"]))
    assert set(bench.network.bridges) == {"vif7.0", "tap7.0"}
    again = bench.fresh()
    done(again.recover(DOMID))
    done(again.update(DOMID, replace(md.vifs[0], bridge="xenbr9")))
    assert bench.network.bridges == {"vif7.0": "xenbr9", "tap7.0": "xenbr9"}
    done(again.unplug(DOMID, "0", force=True))
    assert (bench.leftovers(), bench.network.bridges) == ([], {})


def test_netback_keeps_to_a_limit_and_the_bridge_does_for_the_emulated_device(
    bench: Bench,
) -> None:
    md = make_md()
    limited = replace(md.vifs[0], rate_kbps=200)
    done(bench.vifs.plug(DOMID, md.vifs[0]))
    done(bench.vifs.join_taps(DOMID, md, ["0"]))
    assert bench.server.value(f"{BACKEND}/rate") is None
    done(bench.vifs.update(DOMID, limited))
    assert bench.server.value(f"{BACKEND}/rate") == "10240,50000"
    assert bench.network.limits == {"vif7.0": 0, "tap7.0": 200}
    done(bench.vifs.update(DOMID, md.vifs[0]))
    assert bench.server.value(f"{BACKEND}/rate") == "4294967295,0"
    assert bench.network.limits == {"vif7.0": 0, "tap7.0": 0}


def test_nothing_of_a_dead_domain_is_left(bench: Bench) -> None:
    done(bench.vifs.plug(DOMID, VIF))
    done(bench.vifs.plug(DOMID, replace(VIF, device="1")))
    done(bench.vifs.remove_all(DOMID))
    assert (bench.leftovers(), bench.network.bridges, bench.vifs.stat(DOMID)) == ([], {}, {})
    done(bench.fresh().remove_all(DOMID))


def test_what_is_plugged_is_not_plugged_again(bench: Bench) -> None:
    done(bench.vifs.plug(DOMID, VIF))
    with pytest.raises(RpcError, match="Device_is_connected"):
        done(bench.vifs.plug(DOMID, VIF))
    with pytest.raises(RpcError, match="Device_not_connected"):
        done(bench.vifs.unplug(DOMID, "9", force=False))
    done(bench.vifs.unplug(DOMID, "9", force=True))
