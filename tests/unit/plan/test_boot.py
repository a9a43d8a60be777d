"""Boot metadata: what the daemon is told."""

from typing import Any

import pytest

from tests.unit.plan.factories import DictView, make_host, make_vm
from xapi_py.base.errors import ApiError
from xapi_py.plan import boot, devices
from xenops import metadata


def build(view: DictView, vm: Any, **kw: Any) -> Any:
    return boot.vm_metadata(view, vm.ref, **kw)


@pytest.mark.parametrize("kind", ["hvm", "pv", "pvh", "pv_in_pvh"])
def test_the_daemon_reads_what_is_built(kind: str) -> None:
    view = DictView()
    host = make_host(view)
    vm = make_vm(
        view, domain_type=kind, PV_kernel="/boot/k", other_config={"pci": "0/0000:00:1f.0"},
    )  # fmt: skip
    vdi = view.add("VDI", SR=view.add("SR").ref, location="l")
    view.add("VBD", VM=vm.ref, VDI=vdi.ref, userdevice="0", type="Disk", mode="RW")
    view.add("VBD", VM=vm.ref, userdevice="1", type="CD", mode="RO", empty=True)
    network = view.add("network", bridge="xenbr0", MTU=1500)
    view.add("VIF", VM=vm.ref, network=network.ref, device="0", MAC="02:00:00:00:00:01")
    md = metadata.parse(build(view, vm, host=host.ref))
    assert md.vm.id == vm.uuid
    assert [v.device for v in md.vbds] == (["xvda", "xvdb"] if kind == "hvm" else ["xvda"])
    assert md.pcis[0].address == "0000:00:1f.0"


def test_hvm_record() -> None:
    view = DictView()
    vm = make_vm(
        view, platform={"vga": "std", "videoram": "8", "tsc_mode": "9", "acpi": "0"},
        HVM_boot_params={"order": ""}, VCPUs_params={"weight": "512", "mask": "1,2"},
        xenstore_data={"vm-data/a": "1", "other": "2"}, generation_id="0:0",
    )  # fmt: skip
    record = build(view, vm)["vm"]
    assert record["ty"] == "HVM"
    assert record["hvm"]["boot_order"] == "cd"
    assert (record["hvm"]["video"], record["hvm"]["video_mib"]) == ("Standard_VGA", 8)
    assert record["hvm"]["acpi"] is False
    assert record["xsdata"] == {"vm-data/a": "1"}
    assert "tsc_mode" not in record["platformdata"]
    assert record["platformdata"]["device-model"] == "qemu-upstream-compat"
    assert record["scheduler_params"] == {"weight": 512, "cap": 0, "affinity": [[1, 2], [1, 2]]}
    assert record["on_crash"] == ["Start"]
    assert record["bios_strings"]["bios-vendor"] == "Xen"
    assert record["generation_id"] == "0:0"


def test_pv_record_boots_indirectly_unless_a_kernel_is_named() -> None:
    view = DictView()
    vm = make_vm(view, domain_type="pv", HVM_boot_policy="", PV_args="ro", PV_bootloader="")
    vdi = view.add("VDI")
    view.add("VBD", VM=vm.ref, VDI=vdi.ref, bootable=True, type="Disk")
    pv = boot.pv_options(view, vm)
    assert (pv["direct"], pv["bootloader"], pv["devices"]) == (False, "pygrub", [vdi.uuid])
    vm.PV_kernel = "/boot/vmlinuz"
    assert boot.pv_options(view, vm)["direct"] is True


def test_bad_firmware_is_refused() -> None:
    view = DictView()
    vm = make_vm(view, HVM_boot_params={"firmware": "coreboot"})
    with pytest.raises(ApiError, match="INVALID_VALUE"):
        build(view, vm)


def test_disks_come_writable_first_and_empty_drives_only_for_hvm() -> None:
    view = DictView()
    vm = make_vm(view)
    sr = view.add("SR")
    vdi = view.add("VDI", SR=sr.ref, location="loc")
    common = {"VM": vm.ref, "unpluggable": True}
    view.add("VBD", **common, userdevice="3", type="CD", mode="RO", empty=True)
    view.add("VBD", **common, userdevice="0", type="Disk", mode="RW", VDI=vdi.ref)
    vbds = build(view, vm)["vbds"]
    assert [v["device"] for v in vbds] == ["xvda", "xvdd"]
    assert vbds[0]["backend"] == {"sr": sr.uuid, "vdi": vdi.uuid}
    assert vbds[1]["backend"] is None
    vm.domain_type = "pv"
    assert [v["device"] for v in build(view, vm)["vbds"]] == ["xvda"]


def test_vif_record_resolves_network_defaults() -> None:
    view = DictView()
    vm = make_vm(view)
    network = view.add("network", bridge="xapi1", MTU=9000, default_locking_mode="disabled")
    view.add(
        "VIF", VM=vm.ref, network=network.ref, device="0", MAC="02:00:00:00:00:01",
        locking_mode="network_default", qos_algorithm_type="ratelimit",
        qos_algorithm_params={"kbps": "100"},
    )  # fmt: skip
    (vif,) = build(view, vm)["vifs"]
    assert (vif["bridge"], vif["mtu"], vif["locking_mode"]) == ("xapi1", 9000, "disabled")
    assert (vif["rate_kbps"], vif["carrier"]) == (100, False)


def test_suspended_vm_gets_its_domains_back() -> None:
    view = DictView()
    vm = make_vm(view, power_state="Suspended", last_booted_record="blob")
    assert build(view, vm)["domains"] == "blob"
    vm.power_state = "Halted"
    assert build(view, vm)["domains"] is None


def test_host_mask_restricts_the_vm() -> None:
    view = DictView()
    host = make_host(view, guest_VCPUs_params={"mask": "2,3"})
    vm = make_vm(view, VCPUs_params={"mask": "1,2"})
    record = build(view, vm, host=host.ref)["vm"]
    assert record["scheduler_params"]["affinity"] == [[2], [2]]


def test_allowed_devices_shrink_with_use() -> None:
    view = DictView()
    vm = make_vm(view)
    assert devices.allowed_vbd_devices(view, vm)[:3] == ("0", "1", "2")
    assert len(devices.allowed_vbd_devices(view, vm)) == 255
    view.add("VBD", VM=vm.ref, userdevice="0")
    view.add("VBD", VM=vm.ref, userdevice="xvdc")
    assert devices.allowed_vbd_devices(view, vm)[:2] == ("1", "3")
    assert devices.autodetected(view, vm) == "3"
    assert devices.allowed_vif_devices(view, vm) == tuple(str(n) for n in range(16))


@pytest.mark.parametrize(
    ("device", "code"),
    [
        ("1", None),
        ("autodetect", None),
        ("0", "DEVICE_ALREADY_EXISTS"),
        ("xvda", "DEVICE_ALREADY_EXISTS"),
        ("255", "INVALID_DEVICE"),
        ("zz", "INVALID_DEVICE"),
    ],
)
def test_userdevice_checks(device: str, code: str | None) -> None:
    view = DictView()
    vm = make_vm(view)
    view.add("VBD", VM=vm.ref, userdevice="0")
    error = devices.userdevice_error(view, vm, device)
    assert (error.code if error else None) == code


@pytest.mark.parametrize(
    "kind, seen", [("hvm", "h"), ("pvh", "h"), ("pv_in_pvh", "h"), ("pv", "p")]
)
def test_only_a_classic_paravirtual_guest_gets_the_features_without_virtualisation(
    kind: str, seen: str
) -> None:
    view = DictView()
    view.add("pool", cpu_info={"features_hvm": "h", "features_pv": "p"})
    vm = make_vm(view, domain_type=kind, HVM_boot_policy="BIOS order" if kind == "hvm" else "")
    assert boot.featureset(view, vm) == seen
