"""Order and names of the atoms of operations."""

from tests.unit.xenops.factories import make_md
from xenops import plan
from xenops.plan import Atom, AtomKind, Parallel, Serial


def shown(step: plan.Step) -> list[str]:
    """Give the atoms of a plan as text."""
    return [" ".join(filter(None, (a.kind, a.device, a.option))) for a in plan.atoms(step)]


DEVICES = [
    {"device": "xvdc", "mode": "RO", "backend": {"path": "/c"}},
    {"device": "xvda", "backend": {"path": "/a"}},
    {"device": "xvdb", "backend": {"path": "/b"}},
]


def test_start_makes_the_domain_then_its_devices_then_the_emulator() -> None:
    assert shown(plan.start(make_md())) == [
        "VM_hook_script vm-pre-start none",
        "VM_create",
        "VM_build",
        "VBD_set_active xvda true",
        "VBD_epoch_begin xvda",
        "VBD_plug xvda",
        "VBD_set_active xvdd true",
        "VBD_epoch_begin xvdd",
        "VBD_plug xvdd",
        "VIF_set_active 0 true",
        "VIF_plug 0",
        "VM_create_device_model",
        "VM_set_domain_action_request",
    ]


def test_writable_disks_come_before_read_only_ones_side_by_side() -> None:
    (devices,) = (s for s in plan.start(make_md(vbds=DEVICES)).steps if isinstance(s, Parallel))
    disks = devices.steps[0]
    assert isinstance(disks, Serial)
    assert [type(step) for step in disks.steps] == [Parallel, Parallel]
    plugs = [a.device for a in plan.atoms(disks) if a.kind is AtomKind.VBD_PLUG]
    assert plugs == ["xvda", "xvdb", "xvdc"]


def test_paravirtual_guests_have_no_empty_drives() -> None:
    atoms = list(plan.atoms(plan.start(make_md(ty="PV"))))
    assert Atom(AtomKind.VBD_PLUG, "xvdd") not in atoms
    assert Atom(AtomKind.VBD_PLUG, "xvda") in atoms


def test_clean_shutdown_asks_first_and_the_end_is_a_plan_of_its_own() -> None:
    ask, end = plan.shutdown(make_md(), clean=True)
    assert shown(ask) == ["VM_shutdown_domain poweroff"]
    assert shown(end) == [
        "VM_hook_script vm-pre-shutdown clean-shutdown",
        "VM_pause best effort",
        "VM_destroy_device_model",
        "VBD_unplug xvda hard",
        "VBD_unplug xvdd hard",
        "VIF_unplug 0 hard",
        "VM_destroy",
        "VBD_epoch_end xvda",
        "VBD_epoch_end xvdd",
        "VBD_set_active xvda false",
        "VBD_set_active xvdd false",
        "VIF_set_active 0 false",
        "VM_hook_script vm-post-destroy clean-shutdown",
    ]


def test_suspend_keeps_devices_active() -> None:
    save, end = plan.suspend(make_md())
    assert shown(save) == ["VM_hook_script vm-pre-suspend suspend", "VM_save"]
    assert not [text for text in shown(end) if "set_active" in text or "epoch" in text]


def test_reboot_ends_with_a_running_domain_after_its_delay() -> None:
    _, _, begin = plan.reboot(make_md(), clean=False, delay_s=15.0)
    atoms = shown(begin)
    assert atoms[:3] == [
        "VM_delay 15.0",
        "VM_hook_script vm-pre-reboot none",
        "VM_hook_script vm-pre-start none",
    ]
    assert atoms[-1] == "VM_unpause"


def test_resume_restores_memory_before_disks_and_begins_no_epoch() -> None:
    atoms = shown(plan.resume(make_md()))
    assert atoms[:3] == ["VM_create resume", "VM_hook_script vm-pre-resume none", "VM_restore"]
    assert not [text for text in atoms if "epoch" in text]
    assert atoms[-1] == "VM_hook_script vm-post-resume none"


def test_weight_of_a_plan_is_that_of_its_atoms() -> None:
    step = Serial("s", (Atom(AtomKind.BUILD), Parallel("p", (Atom(AtomKind.DESTROY),))))
    assert plan.weight(step) == 11.0
