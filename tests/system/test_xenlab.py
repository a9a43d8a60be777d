"""The lab itself: real Xen, commands, files, snapshots, guests of two kinds, the cable."""

import socket
import time

import pytest

from tests.system.lab import GUESTS, leftovers
from tests.xenlab.lab import Host
from tests.xenlab.qemu import wait_until

pytestmark = [pytest.mark.system, pytest.mark.slow]

ADDRESS = "192.0.2.10"


def test_commands_run_with_input_exit_code_and_both_outputs(xen_lab: Host) -> None:
    done = xen_lab.run("cat; echo problem >&2; exit 3", "given")
    assert (done.returncode, done.stdout, done.stderr) == (3, "given", "problem\n")
    assert xen_lab.output(["printf", "%s|", "a b", "$HOME"]) == "a b|$HOME|"


def test_a_command_that_takes_too_long_is_killed_with_its_children(xen_lab: Host) -> None:
    assert xen_lab.run("sleep 5077 & sleep 5077", timeout=1).returncode == 124
    assert xen_lab.run(["pgrep", "-f", "^sleep 5077"]).returncode == 1


def test_files_go_in_and_out_unchanged(xen_lab: Host) -> None:
    content = bytes(range(256)) * 1000
    xen_lab.put("/run/new/folder/file", content, 0o750)
    assert xen_lab.get("/run/new/folder/file") == content
    assert xen_lab.output(["stat", "-c", "%a", "/run/new/folder/file"]) == "750\n"


def test_xen_runs_with_its_control_domain_and_the_right_time(xen_lab: Host) -> None:
    assert "Domain-0" in xen_lab.output("xl list")
    facts = xen_lab.output("xl info")
    assert "xen_major              : 4" in facts and " hap" in facts
    assert abs(float(xen_lab.output("date +%s.%N")) - time.time()) < 5


def test_the_project_is_there_and_imports(xen_lab: Host) -> None:
    xen_lab.output("cd /opt/xapi-py && python3 -c 'import xenops, sm, xcp_networkd'", timeout=120)
    xen_lab.put_project()  # nothing changed: takes nothing


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_guest_boots_answers_ping_and_powers_off(xen_lab: Host, kind: str) -> None:
    with_bridge(xen_lab)
    log = f"/var/log/xen/console/guest-g{kind}.log"
    xen_lab.put(f"/root/{kind}.cfg", guest_config(kind).encode())
    xen_lab.output(f"rm -f {log}; xl create /root/{kind}.cfg", timeout=120)
    try:
        wait_for_text(xen_lab, log, f"GUEST READY g{kind} type={kind.upper()}")
        xen_lab.output(["ping", "-c", "3", "-i", "0.3", "-W", "10", ADDRESS])
        xen_lab.output(f"xl shutdown -w g{kind}", timeout=90)
    finally:
        xen_lab.run(f"xl destroy g{kind}; ip link del xenbr0", timeout=60)


def test_a_fully_virtual_guest_boots_and_obeys_its_power_button(xen_lab: Host) -> None:
    config = """
name = "ghvm"
type = "hvm"
memory = 64
disk = ["/root/hvm.img,raw,hda,w"]
serial = "file:/run/ghvm.serial"
vga = "stdvga"
vnc = 0
"""
    xen_lab.put("/root/hvm.cfg", config.encode())
    xen_lab.output(f"cp {GUESTS}/hvm.img /root && xl create /root/hvm.cfg", timeout=120)
    try:
        wait_for_text(xen_lab, "/run/ghvm.serial", "HVM-GUEST-READY")
        xen_lab.output("xl shutdown -w -F ghvm", timeout=60)
    finally:
        xen_lab.run("xl destroy ghvm; rm -f /root/hvm.img /run/ghvm.serial", timeout=60)


def test_leftovers_are_found(xen_lab: Host) -> None:
    with_bridge(xen_lab)
    xen_lab.put("/root/left.cfg", guest_config("pv").encode())
    xen_lab.output("xl create -p /root/left.cfg", timeout=120)
    found = " ".join(leftovers(xen_lab))
    for kind in ("domain: gpv", "xenstore: /local/domain/", "network device: vif"):
        assert kind in found
    xen_lab.output("xl destroy gpv; ip link del xenbr0")
    wait_until(lambda: leftovers(xen_lab) == [], 20, "the guest is gone")


def test_a_snapshot_brings_the_machine_back_as_it_was(xen_lab: Host) -> None:
    xen_lab.output("echo before >/root/state; sleep 4000 & echo $! >/run/kept")
    xen_lab.snapshot("before")
    xen_lab.output("echo after >/root/state; kill $(cat /run/kept)")
    began = time.monotonic()
    xen_lab.restore("before")
    took = time.monotonic() - began
    assert xen_lab.output("cat /root/state; kill -0 $(cat /run/kept) && echo alive") == (
        "before\nalive\n"
    )
    assert abs(float(xen_lab.output("date +%s.%N")) - time.time()) < 5
    assert took < 30  # 2 s on a quiet machine


def test_ports_are_led_out(xen_lab: Host) -> None:
    xen_lab.output(
        "setsid socat TCP-LISTEN:8099,fork SYSTEM:'echo hello from inside' >/dev/null 2>&1 &"
    )

    def greeted() -> bool:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            return connection.makefile().readline() == "hello from inside\n"

    port = xen_lab.forward(8099)
    wait_until(greeted, 20, "an answer from inside")
    xen_lab.output("pkill -f TCP-LISTEN:8099")


def test_a_plain_machine_has_debians_kernel_and_a_cable_between_its_cards(plain_lab: Host) -> None:
    assert "Xen" not in plain_lab.output("cat /proc/xen/capabilities 2>/dev/null; true")
    plain_lab.output("modprobe bonding max_bonds=0 && modprobe -a 8021q dm_mod iscsi_tcp nfsd")
    plain_lab.output(
        "ip netns add far && ip link set eth2 netns far && "
        "ip netns exec far sh -c 'ip link set eth2 up; ip addr add 10.9.0.77/24 dev eth2'"
    )
    plain_lab.output(["ping", "-c", "2", "-i", "0.3", "-W", "10", "10.9.0.77"])
    plain_lab.cable(1, connected=False)
    carrier = "cat /sys/class/net/eth1/carrier"
    wait_until(lambda: plain_lab.output(carrier) == "0\n", 20, "the cable is out")
    plain_lab.cable(1, connected=True)
    wait_until(lambda: plain_lab.output(carrier) == "1\n", 20, "the cable is in")


def with_bridge(host: Host) -> None:
    host.output(
        "ip link show xenbr0 2>/dev/null || "
        "{ ip link add xenbr0 type bridge && ip link set xenbr0 up && "
        "ip addr add 192.0.2.1/24 dev xenbr0; }"
    )


def guest_config(kind: str) -> str:
    return f'''
name = "g{kind}"
type = "{kind}"
kernel = "{GUESTS}/vmlinux"
ramdisk = "{GUESTS}/initramfs.gz"
extra = "console=hvc0 quiet mitigations=off guest.name=g{kind} guest.ip={ADDRESS}/24"
memory = 128
vif = ["bridge=xenbr0"]
'''


def wait_for_text(host: Host, file: str, text: str, timeout: float = 300) -> None:
    host.output(
        f"timeout {timeout:.0f} tail -n +1 -F {file} 2>/dev/null | grep -qaFm1 '{text}' || "
        f"{{ tail -n 50 {file}; exit 1; }}",
        timeout=timeout + 30,
    )
