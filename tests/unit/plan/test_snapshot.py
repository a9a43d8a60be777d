"""Copies of VMs and the snapshot tree."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.factories import DictView, make_vm
from xapi_py.base.names import NULL_REF
from xapi_py.plan import snapshot
from xapi_py.plan.snapshot import Fresh

FRESH = Fresh(1700000000, "seed-2", "1:2")


def test_clone_of_template_remembers_it_and_gets_a_new_seed() -> None:
    vm = make_vm(
        DictView(), name_label="tmpl", is_a_template=True,
        other_config={"mac_seed": "seed-1", "default_template": "true", "install-methods": "cd"},
    )  # fmt: skip
    fields = snapshot.copy_fields(vm, "clone", "new", FRESH)
    assert fields["other_config"] == {
        "mac_seed": "seed-2", "install-methods": "cd", "base_template_name": "tmpl",
    }  # fmt: skip
    assert fields["is_a_template"] is True
    assert fields["is_a_snapshot"] is False
    assert fields["name_label"] == "new"


def test_snapshot_belongs_to_the_vm() -> None:
    vm = make_vm(
        DictView(), power_state="Running", other_config={"mac_seed": "seed-1"},
        blocked_operations={"start": "x"}, ha_restart_priority="restart",
    )  # fmt: skip
    fields = snapshot.copy_fields(vm, "snapshot", "s", FRESH)
    assert fields["snapshot_of"] == vm.ref
    assert fields["snapshot_time"] == FRESH.now
    assert fields["is_a_template"] is True
    assert fields["other_config"] == {"mac_seed": "seed-1"}
    assert fields["snapshot_info"] == {
        "disk-snapshot-type": "crash_consistent", "power-state-at-snapshot": "Running",
    }  # fmt: skip
    assert (fields["blocked_operations"], fields["ha_restart_priority"]) == ({}, "")


def test_tree_grows_and_heals() -> None:
    view = DictView()
    vm = make_vm(view)
    assert snapshot.created_parents(vm, "OpaqueRef:s1") == {
        "OpaqueRef:s1": NULL_REF, vm.ref: "OpaqueRef:s1",
    }  # fmt: skip
    root = make_vm(view)
    middle = make_vm(view, parent=root.ref)
    leaf = make_vm(view, parent=middle.ref)
    assert snapshot.destroyed_parents(middle) == {leaf.ref: root.ref}
    assert list(snapshot.ancestors(view, leaf.ref)) == [middle.ref, root.ref]


def test_loop_of_parents_ends() -> None:
    view = DictView()
    first, second = make_vm(view), make_vm(view)
    first.parent, second.parent = second.ref, first.ref
    assert list(snapshot.ancestors(view, first.ref)) == [second.ref]


def test_revert_needs_a_snapshot_whose_vm_exists() -> None:
    view = DictView()
    vm = make_vm(view)
    error = snapshot.revert_error(view, vm)
    assert error is not None and error.description == ["VM_REVERT_FAILED", vm.ref, NULL_REF]
    snap = make_vm(view, is_a_snapshot=True, snapshot_of=vm.ref)
    assert snapshot.revert_error(view, snap) is None


def test_revert_keeps_identity_and_takes_settings() -> None:
    saved = {"uuid": "u", "name_label": "old", "VCPUs_max": 4, "power_state": "Running"}
    assert snapshot.revert_fields(saved) == {"name_label": "old", "VCPUs_max": 4}


def test_metadata_is_written_in_descending_order() -> None:
    text = snapshot.metadata_text([("PV__args", ""), ("uuid", "u"), ("tags", "('a')")])
    assert text == "(('uuid' 'u') ('tags' '(\\'a\\')') ('PV__args' ''))"


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_metadata_survives_the_round_trip(fields: dict[str, str]) -> None:
    assert snapshot.read_metadata(snapshot.metadata_text(fields.items())) == fields


def test_copied_disks_leave_out_drives_and_ignored_ones() -> None:
    view = DictView()
    vm = make_vm(view)
    first, second, iso = view.add("VDI"), view.add("VDI"), view.add("VDI")
    kept = view.add("VBD", VM=vm.ref, VDI=first.ref, type="Disk")
    view.add("VBD", VM=vm.ref, VDI=second.ref, type="Disk")
    view.add("VBD", VM=vm.ref, VDI=iso.ref, type="CD")
    assert snapshot.copied_disks(view, vm, [second.ref]) == ((kept.ref, first.ref),)
