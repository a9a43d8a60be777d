"""Records and events as XenCenter reads them.

Tags: E for events, R for fields; see test_xencenter_connect.py.
"""

import re
import time
import xml.etree.ElementTree as ET

import pytest

from tests.contract.xencenter_session import XenCenter
from tests.contract.xencenter_steps import followed, new_network
from xapi_py.datamodel.profiles import load_model

pytestmark = pytest.mark.integration

UNKNOWN_TO_CLIENTS = {"session", "event", "user", "secret", "vtpm"}


def test_E1_operations_and_full_records(xencenter: XenCenter):
    with followed(xencenter) as (client, events):
        network = new_network(client, xencenter)
        added = events(network)
        client.call("network.set_name_label", xencenter.session, network, "renamed")
        changed = events(network)
        client.call("network.destroy", xencenter.session, network)
        deleted = events(network)
    record_members = set(next(iter(xencenter.snapshots("network").values())))
    assert [e["operation"] for e in (added, changed, deleted)] == ["add", "mod", "del"]
    assert set(added["snapshot"]) == set(changed["snapshot"]) == record_members
    assert changed["snapshot"]["name_label"] == "renamed"


def test_E2_class_names_are_those_of_the_interface(xencenter: XenCenter):
    known = {name.lower() for name in load_model(xencenter.generation.profile).classes}
    seen = {e["class"] for e in xencenter.first["events"]}
    assert seen <= known
    assert not seen & UNKNOWN_TO_CLIENTS


def test_E3_an_object_arrives_at_once(xencenter: XenCenter):
    with followed(xencenter) as (client, events):
        network = new_network(client, xencenter)
        made = time.monotonic()
        assert events(network)["operation"] == "add"
        assert time.monotonic() - made < 1
        client.call("network.destroy", xencenter.session, network)


def test_R1_the_pool(xencenter: XenCenter):
    (pool,) = xencenter.snapshots("pool").values()
    assert pool["master"] in xencenter.snapshots("host")
    assert pool["name_label"] == ""


def test_R2_the_host_is_reachable_live_and_enabled(xencenter: XenCenter):
    host = xencenter.cached_host
    assert host["address"] == xencenter.pool.host().address
    metrics = xencenter.snapshots("host_metrics")[host["metrics"]]
    assert metrics["live"] is True
    assert int(metrics["memory_total"]) > 0
    assert host["enabled"] is True


def test_R3_the_edition(xencenter: XenCenter):
    editions = "free per-socket xendesktop enterprise-per-socket enterprise-per-user"
    editions += " standard-per-socket desktop desktop-plus premium standard"
    assert xencenter.cached_host["edition"] in editions.split()


def test_R4_the_license_server(xencenter: XenCenter):
    server = xencenter.cached_host["license_server"]
    assert set(server) == {"address", "port"}
    assert int(server["port"])


def test_R5_versions_are_three_integers(xencenter: XenCenter):
    version = xencenter.cached_host["software_version"]
    for key in ("product_version", "platform_version"):
        assert re.fullmatch(r"\d+\.\d+\.\d+", version[key]), key
    assert re.match(r"\d+", version["build_number"])
    assert version["network_backend"] in ("bridge", "openvswitch")


def test_R6_every_feature_is_granted_and_no_grace_period_runs(xencenter: XenCenter):
    granted = xencenter.cached_host["license_params"]
    features = "rbac dmc hotfix_apply batch_hotfix_apply checkpoint cifs wlb vswitch_controller"
    features += " pci_device_for_auto_update pooling vmpr dr storage_xen_motion email_alerting"
    features += " netapp historical_performance cpu_masking gpu vgpu read_caching health_check"
    features += " integrated_gpu_passthrough export_resource_data pvs_proxy live_patching"
    features += " set_vcpus_number_live"
    for feature in features.split():
        assert granted[f"restrict_{feature}"] == "false", feature
    assert granted["enable_xha"] == "true"
    assert "grace" not in granted


def test_R7_the_processor(xencenter: XenCenter):
    info = xencenter.cached_host["cpu_info"]
    keys = "cpu_count socket_count vendor speed modelname family model stepping flags features"
    for key in (*keys.split(), "features_pv", "features_hvm"):
        assert key in info, key
    assert info["vendor"]
    assert int(info["cpu_count"]) == len(xencenter.snapshots("host_cpu"))
    for key in ("features_pv", "features_hvm"):
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8})*", info[key])
    (pool,) = xencenter.snapshots("pool").values()
    assert pool["cpu_info"]["vendor"] == info["vendor"]


def test_R8_processor_numbers_are_unique(xencenter: XenCenter):
    processors = xencenter.snapshots("host_cpu")
    assert set(xencenter.cached_host["host_CPUs"]) == set(processors)
    assert len({p["number"] for p in processors.values()}) == len(processors) > 0


def test_R9_the_control_domain_lives_on_the_host(xencenter: XenCenter):
    host = xencenter.cached_host
    domain = xencenter.snapshots("VM")[host["control_domain"]]
    assert host["control_domain"] in host["resident_VMs"]
    assert domain["is_control_domain"] is True
    assert int(domain["domid"]) == 0
    assert int(xencenter.snapshots("VM_metrics")[domain["metrics"]]["memory_actual"]) > 0


def test_R10_times_of_the_host(xencenter: XenCenter):
    for key in ("boot_time", "agent_start_time"):
        assert re.fullmatch(r"\d+\.\d*", xencenter.cached_host["other_config"][key])


def test_R11_references_of_templates_are_never_empty(xencenter: XenCenter):
    for vm in xencenter.snapshots("VM").values():
        for member in ("affinity", "suspend_VDI", "suspend_SR", "resident_on", "appliance"):
            assert vm[member].startswith("OpaqueRef:"), (vm["name_label"], member)
        assert vm["HVM_boot_policy"] is not None


def test_R12_recommendations_are_restrictions(xencenter: XenCenter):
    for vm in xencenter.snapshots("VM").values():
        if vm["recommendations"]:
            assert ET.fromstring(vm["recommendations"]).tag == "restrictions"


def test_R13_the_templates_of_the_guide_are_there(xencenter: XenCenter):
    built_in = [
        vm
        for vm in xencenter.snapshots("VM").values()
        if vm["is_a_template"]
        and ("default_template" in vm["other_config"] or vm.get("is_default_template"))
    ]
    assert "Other install media" in {vm["name_label"] for vm in built_in}
    if xencenter.generation.profile == "7.1":
        assert "Windows 8 (32-bit)" in {vm["name_label"] for vm in built_in}


def test_R14_disks_of_templates_have_all_attributes(xencenter: XenCenter):
    described = [
        vm["other_config"]["disks"]
        for vm in xencenter.snapshots("VM").values()
        if "disks" in vm["other_config"]
    ]
    assert described
    for text in described:
        assert text.startswith("<provision>")
        for disk in ET.fromstring(text):
            assert disk.tag == "disk"
            assert {"device", "size", "sr", "bootable", "type"} <= set(disk.attrib)
            assert int(disk.attrib["size"]) > 0


def test_R17_R18_each_repository_has_a_driver_that_can_hold_disks(xencenter: XenCenter):
    drivers = {sm["type"]: sm for sm in xencenter.snapshots("SM").values()}
    repositories = xencenter.snapshots("SR")
    attached = xencenter.snapshots("PBD")
    assert {sr["type"] for sr in repositories.values()} <= set(drivers)
    assert {"nfs", "lvmoiscsi", "lvmohba", "iso"} <= set(drivers)
    for sr in repositories.values():
        assert sr["PBDs"], sr["name_label"]
        assert all(attached[pbd]["currently_attached"] for pbd in sr["PBDs"]), sr["name_label"]
    assert any("VDI_CREATE" in drivers[sr["type"]]["capabilities"] for sr in repositories.values())


def test_R20_interfaces_of_the_host(xencenter: XenCenter):
    interfaces, networks = xencenter.snapshots("PIF"), xencenter.snapshots("network")
    metrics = xencenter.snapshots("PIF_metrics")
    assert set(xencenter.cached_host["PIFs"]) == set(interfaces)
    assert [p["device"] for p in interfaces.values() if p["management"]] == ["eth0"]
    for interface in interfaces.values():
        assert re.fullmatch(r"eth\d+", interface["device"])
        assert int(interface["VLAN"]) == -1
        assert interface["network"] in networks
        assert interface["host"] == xencenter.master_ref
        assert interface["metrics"] in metrics


def test_R21_networks_have_the_names_that_are_shortened(xencenter: XenCenter):
    names = {n["name_label"] for n in xencenter.snapshots("network").values()}
    assert "Host internal management network" in names
    if xencenter.generation.profile == "7.1":
        assert "Pool-wide network associated with eth0" in names


def test_R22_consoles_are_absolute_addresses(xencenter: XenCenter):
    host = xencenter.pool.host()
    for console in xencenter.snapshots("console").values():
        assert console["location"].startswith(f"https://{host.address}:{host.https}/console?")
        assert console["VM"] in xencenter.snapshots("VM")
