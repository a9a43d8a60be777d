"""Records of exports: what is written is found again, and odd ones are refused."""

import random
from pathlib import Path
from typing import Any

import pytest

from ocaml_compat import xva
from ocaml_compat.xva import Exported, Manifest
from tests.unit.api.vm.pool import Pool
from xapi_py.api.internal import internal_call
from xapi_py.api.vm import imported_records
from xapi_py.base.errors import ApiError
from xapi_py.base.names import NULL_REF
from xapi_py.plan.exporting import ExportChoice, plan_export, version_of
from xapi_py.plan.importing import ImportChoice, plan_import

ODD: list[Any] = [
    "", "x", "Ref:0", NULL_REF, None, [], {}, ["x"], {"x": "y"}, -1, 2**70, 1.5, float("nan"),
    True, "\0", "é" * 300, [[]], {"x": []},
]  # fmt: skip


def exported(pool: Pool, **choice: Any) -> list[Exported]:
    """Give a VM with a disk, a drive and a network device as another pool would read it."""
    sr = pool.sr()
    vm = pool.vm(name_label="kept", other_config={"key": "value"})
    pool.disk(vm, sr)
    with pool.db.transaction() as tx:
        network = tx.create("network", {"name_label": "net", "bridge": "xapi7"})
        tx.create("VIF", {"VM": vm, "network": network, "device": "0", "MAC": "02:00:00:00:00:01"})
        tx.create("VBD", {"VM": vm, "userdevice": "3", "type": "CD", "empty": True})
    objects = plan_export(pool.db, pool.toolstack.model, [pool.row(vm)], ExportChoice(**choice))
    host = pool.db.row("host", pool.host_ref)
    document = xva.render_manifest(Manifest(version_of(host), objects.objects))
    return list(xva.parse_manifest(document).objects)


def write(pool: Pool, objects: list[Exported], choice: ImportChoice) -> list[Any]:
    plan = plan_import(pool.db, pool.toolstack.model, objects, choice)
    call = internal_call(pool.toolstack, "VM import")
    return [pool.row(ref) for ref in imported_records.write(call, choice, plan, {})]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


def test_references_point_into_the_export_only(pool: Pool) -> None:
    objects = exported(pool)
    ids = {item.id for item in objects}
    assert len(ids) == len(objects)
    for item in objects:
        for value in item.snapshot.values():
            if isinstance(value, str) and value.startswith(("Ref:", "OpaqueRef:")):
                assert value in ids or value == NULL_REF


def test_metadata_comes_back_with_new_identity(pool: Pool) -> None:
    objects = exported(pool)
    (vm,) = write(pool, objects, ImportChoice(full=False))
    original = next(item.snapshot for item in objects if item.cls == "VM")
    assert vm.name_label == "kept" and vm.uuid != original["uuid"] and vm.version == 0
    assert vm.other_config["key"] == "value" and "import_task" in vm.other_config
    assert sorted(pool.db.row("VBD", ref).type for ref in vm.VBDs) == ["CD", "Disk"]
    (vif,) = (pool.db.row("VIF", ref) for ref in vm.VIFs)
    assert vif.MAC != "02:00:00:00:00:01"
    assert pool.db.row("network", vif.network).name_label == "net"


def test_a_restore_replaces_what_is_older_or_refuses(pool: Pool) -> None:
    objects = exported(pool)
    with pytest.raises(ApiError, match="VM_TO_IMPORT_IS_NOT_NEWER_VERSION"):
        write(pool, objects, ImportChoice(full=False, restore=True))
    uuid = next(item.snapshot["uuid"] for item in objects if item.cls == "VM")
    count = pool.db.count("VM")
    (vm,) = write(pool, objects, ImportChoice(full=False, restore=True, force=True))
    assert vm.uuid == uuid and vm.version == 1 and pool.db.count("VM") == count
    (vif,) = (pool.db.row("VIF", ref) for ref in vm.VIFs)
    assert vif.MAC == "02:00:00:00:00:01"


def test_the_same_addresses_twice_are_refused(pool: Pool) -> None:
    objects = exported(pool)
    renamed = [
        Exported(o.cls, o.id, {**o.snapshot, "uuid": "0" * 8 + "-0000-0000-0000-" + "0" * 12})
        if o.cls == "VM"
        else o
        for o in objects
    ]
    with pytest.raises(ApiError, match="DUPLICATE_VM"):
        write(pool, renamed, ImportChoice(full=False, restore=True))


def test_missing_networks_are_made_and_marked(pool: Pool) -> None:
    objects = [
        Exported(o.cls, o.id, {**o.snapshot, "name_label": "new", "bridge": "none"})
        if o.cls == "network"
        else o
        for o in exported(pool)
    ]
    (vm,) = write(pool, objects, ImportChoice(full=False))
    (vif,) = (pool.db.row("VIF", ref) for ref in vm.VIFs)
    network = pool.db.row("network", vif.network)
    assert network.name_label == "new" and "import_task" in network.other_config
    assert network.bridge not in ("", "none", "xapi7")


@pytest.mark.parametrize("seed", range(6))
def test_odd_records_give_errors_of_the_interface_and_change_nothing(pool: Pool, seed: int) -> None:
    objects, chance = exported(pool), random.Random(seed)
    for _ in range(60):
        damaged = list(objects)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            item = damaged[at]
            fields = dict(item.snapshot)
            name = chance.choice(sorted(fields))
            if chance.random() < 0.3:
                del fields[name]
            else:
                fields[name] = chance.choice(ODD)
            damaged[at] = Exported(item.cls, item.id, fields)
        chance.shuffle(damaged) if chance.random() < 0.2 else None
        before = pool.db.count("VM"), pool.db.count("VBD"), pool.db.count("network")
        choice = ImportChoice(False, restore=chance.random() < 0.5, force=chance.random() < 0.5)
        try:
            write(pool, damaged, choice)
        except ApiError:
            after = pool.db.count("VM"), pool.db.count("VBD"), pool.db.count("network")
            assert after == before
