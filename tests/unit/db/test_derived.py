"""Derived fields."""

import pytest

from xapi_py.db.derived import Derived
from xapi_py.db.dict_view import DictView
from xapi_py.db.row import Row
from xapi_py.db.view import View


class Counter:
    """Counts computations of a field and lists what it depends on."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def vm_state(self, view: View, row: Row) -> tuple[str, ...]:
        self.computed.append(row.ref)
        vbds = [view.row("VBD", r) for r in row.VBDs]
        vdis = [v for vbd in vbds if (v := view.find("VDI", vbd.VDI)) is not None]
        attached = sum(vbd.currently_attached for vbd in vbds)
        return (row.power_state, str(attached), *(v.name_label for v in vdis))

    def taken(self) -> list[str]:
        found, self.computed = self.computed, []
        return found


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def db(counter: Counter) -> DictView:
    view = DictView()
    depends = (
        ("VM", "power_state", ()),
        ("VBD", "currently_attached", ("VM",)),
        ("VDI", "name_label", ("VBDs", "VM")),
    )
    view.derive(Derived("VM", "allowed_operations", depends, counter.vm_state))
    return view


def test_a_new_object_has_its_derived_fields(db: DictView) -> None:
    assert db.add("VM").allowed_operations == ("Halted", "0")


def test_objects_that_were_there_are_computed_at_declaration(counter: Counter) -> None:
    view = DictView()
    vm = view.add("VM")
    view.derive(Derived("VM", "allowed_operations", (), counter.vm_state))
    assert vm.allowed_operations == ("Halted", "0")


def test_only_what_is_declared_and_affected_is_computed(db: DictView, counter: Counter) -> None:
    vm, _ = db.add("VM"), db.add("VM")
    counter.taken()
    db.change(vm, name_label="x")
    assert counter.taken() == []
    db.change(vm, power_state="Running")
    assert counter.taken() == [vm.ref]
    assert vm.allowed_operations == ("Running", "0")


def test_many_changes_in_a_transaction_compute_once(db: DictView, counter: Counter) -> None:
    vm = db.add("VM")
    counter.taken()
    with db.transaction() as tx:
        for _ in range(5):
            tx.create("VBD", {"VM": vm.ref, "currently_attached": True})
        tx.set("VM", vm.ref, "power_state", "Running")
        assert counter.computed == []
    assert counter.taken() == [vm.ref]
    assert vm.allowed_operations == ("Running", "5")
    assert vm.modified == db.generation


def test_creation_move_and_deletion_of_related_objects_count(db: DictView) -> None:
    a, b = db.add("VM"), db.add("VM")
    vbd = db.add("VBD", VM=a.ref, currently_attached=True)
    assert (a.allowed_operations[1], b.allowed_operations[1]) == ("1", "0")
    db.change(vbd, VM=b.ref)
    assert (a.allowed_operations[1], b.allowed_operations[1]) == ("0", "1")
    db.remove(vbd)
    assert b.allowed_operations[1] == "0"


def test_a_path_of_two_steps_is_followed(db: DictView) -> None:
    vm, disk, other = db.add("VM"), db.add("VDI", name_label="disk"), db.add("VDI")
    vbd = db.add("VBD", VM=vm.ref, VDI=disk.ref)
    assert vm.allowed_operations == ("Halted", "0", "disk")
    db.change(disk, name_label="renamed")
    assert vm.allowed_operations == ("Halted", "0", "renamed")
    db.change(vbd, VDI=other.ref)
    assert vm.allowed_operations == ("Halted", "0", "")
    db.remove(other)
    assert vm.allowed_operations == ("Halted", "0")


def test_an_error_in_compute_undoes_the_transaction(db: DictView) -> None:
    vm = db.add("VM")

    def broken(view: View, row: Row) -> object:
        if row.power_state == "Paused":
            raise ZeroDivisionError
        return row.power_state

    db.derive(Derived("VM", "user_version", (), lambda view, row: 1))
    db.derive(Derived("VM", "domarch", (("VM", "power_state", ()),), broken))
    with pytest.raises(ZeroDivisionError):
        db.change(vm, power_state="Paused")
    assert (vm.power_state, vm.allowed_operations[0]) == ("Halted", "Halted")


def test_a_derived_field_may_depend_on_an_earlier_one(db: DictView) -> None:
    depends = (("VM", "allowed_operations", ()),)
    db.derive(Derived("VM", "tags", depends, lambda view, row: row.allowed_operations[:1]))
    vm = db.add("VM")
    db.change(vm, power_state="Running")
    assert vm.tags == ("Running",)


@pytest.mark.parametrize(
    ("field", "depends"),
    [
        ("tags", (("VM", "tags", ()),)),
        ("tags", (("VM", "no_such_field", ()),)),
        ("tags", (("VBD", "device", ()),)),
        ("tags", (("VBD", "device", ("device",)),)),
        ("tags", (("VBD", "device", ("VDI",)),)),
        ("power_state", ()),
    ],
)
def test_wrong_declarations_are_refused(
    db: DictView, field: str, depends: tuple[tuple[str, str, tuple[str, ...]], ...]
) -> None:
    with pytest.raises(ValueError):
        db.derive(Derived("VM", field, depends, lambda view, row: ()))


def test_a_failed_transaction_computes_nothing(db: DictView, counter: Counter) -> None:
    vm = db.add("VM")
    counter.taken()
    with pytest.raises(KeyError), db.transaction() as tx:
        tx.set("VM", vm.ref, "power_state", "Running")
        raise KeyError
    assert (counter.taken(), vm.allowed_operations) == ([], ("Halted", "0"))
