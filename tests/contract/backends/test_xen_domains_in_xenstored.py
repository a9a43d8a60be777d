"""Domains of a hypervisor in memory, their trees in a real xenstored: it has the last word on
names, permissions and transactions.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor

from tests.contract.backends.test_xenstore import real
from tests.unit.xenops.factories import MIB, UUID, make_md
from tests.unit.xenops.xen.fake_xen import DirectHost, FakeWorkers, FakeXen
from xenops.backends.contract import CreateRequest
from xenops.backends.xen import parts
from xenops.backends.xen.backend import XenBackend
from xenops.backends.xen.control import Control
from xenops.backends.xen.host_facts import HostFacts
from xenops.backends.xen.services import assemble
from xenops.metadata import VmMetadata

SIZE = CreateRequest(300 * MIB, 300 * MIB)
run = pytest_twisted.ensureDeferred


def make_pv(**values: Any) -> VmMetadata:
    return make_md(**({"ty": "PV", "pv": {"direct": True, "kernel": __file__}} | values))


async def backend_on(store: Any, xen: FakeXen, folder: Path) -> XenBackend:
    host = DirectHost(store, xen, reactor, folder, folder)
    services = assemble(host, lambda *_: parts.none())
    workers: Any = FakeWorkers(xen)
    services.build._workers = workers
    services = dataclasses.replace(services, workers=workers)
    facts = HostFacts(host, services.domains, services.memory, folder)
    backend = XenBackend(services, facts, Control(host, services.domains))
    await backend.open()
    return backend


async def running(backend: XenBackend, md: VmMetadata) -> int:
    domid = await backend.create(md, SIZE)
    await backend.build(domid, md.vm)
    await backend.clear_action_request(domid)
    await backend.unpause(domid)
    return domid


@run
async def test_a_domain_comes_and_goes_without_a_trace(tmp_path: Path) -> None:
    async with real(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        before = await other.tree("/")
        backend = await backend_on(store, FakeXen(), tmp_path)
        md = make_pv(xsdata={"vm-data/a": "1"}, platformdata={"bad name": "1", "acpi": "1"})
        domid = await running(backend, md)
        home = f"/local/domain/{domid}"
        assert await other.get_permissions(home) == ("n0", f"r{domid}")
        assert await other.get_permissions(f"{home}/memory/target") == ("n0", f"r{domid}")
        await backend.destroy(domid)
        after = await other.tree("/")
        shared = {"local", "local/domain", "vm", "xenops", "xenops/domain", "libxl", "xapi"}
        assert set(after) - set(before) <= shared


@run
async def test_a_guest_may_write_where_it_has_to(tmp_path: Path) -> None:
    async with real(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        backend = await backend_on(store, FakeXen(), tmp_path)
        domid = await running(backend, make_pv())
        home = f"/local/domain/{domid}"
        for folder in ("control", "data", "attr", "device/vbd", "feature", "vm-data"):
            assert (await other.get_permissions(f"{home}/{folder}"))[0] == f"n{domid}", folder
        for folder in ("", "/cpu", "/memory", "/platform", "/name"):
            assert await other.get_permissions(home + folder) == ("n0", f"r{domid}"), folder
        assert await other.get_permissions(f"/xenops/domain/{domid}") == ("n0",)


@run
async def test_a_restarted_daemon_finds_its_domain(tmp_path: Path) -> None:
    async with real(tmp_path) as bench:
        xen = FakeXen()
        store, other = await bench.client(), await bench.client()
        backend = await backend_on(store, xen, tmp_path)
        domid = await running(backend, make_pv())
        await other.write(f"/local/domain/{domid}/data/os_name", "Debian")
        await other.read("/local/domain")
        store.close()
        again = await backend_on(await bench.client(), xen, tmp_path)
        stat = again.stat(domid)
        assert stat.guest_agent["data/os_name"] == "Debian"
        found = again.find(UUID)
        assert found is not None and found.survivable
        asked = again.request_shutdown(domid, "poweroff", 0.2)
        assert await asked is False
        assert await other.read(f"/local/domain/{domid}/control/shutdown") == "poweroff"
        assert (await other.get_permissions(f"/local/domain/{domid}/control/shutdown"))[0] == (
            f"n{domid}"
        )
        await again.destroy(domid)


@run
async def test_the_agents_licence_is_for_all(tmp_path: Path) -> None:
    async with real(tmp_path) as bench:
        store, other = await bench.client(), await bench.client()
        backend = await backend_on(store, FakeXen(), tmp_path)
        backend.set_guest_agent_features({"Agent": {"licensed": "1", "parameters": {"url": "x"}}})
        path = "/guest_agent_features/Agent/parameters/url"
        await other.wait_for(path, lambda value: value == "x", 5)
        assert await other.get_permissions(path) == ("r0",)
