"""The records of the host this process runs on, written and refreshed at every start.

Order as on the real server: host, memory, processors, control domain with its
consoles.  Sources: brief POOL 1.3, facts/defaults.yaml.
"""

from dataclasses import dataclass

from xapi_py.base.names import NULL_REF, Ref, Uuid
from xapi_py.datamodel import defaults
from xapi_py.datamodel.model import Model
from xapi_py.db.database import Database
from xapi_py.db.transaction import Transaction
from xapi_py.start import identity, pci_records
from xapi_py.start.identity import HostFacts


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """Names and numbers a host keeps for life."""

    uuid: Uuid
    control_domain_uuid: Uuid
    hostname: str
    address: str
    https_port: int = 443
    network_backend: str = "bridge"
    has_local_storage: bool = True
    forbidden_features: frozenset[str] = frozenset()


def refresh(db: Database, model: Model, me: HostIdentity, facts: HostFacts, started: int) -> Ref:
    """Create or refresh this host's records and give the host's reference."""
    with db.transaction() as tx:
        host = _host(db, tx, model, me, facts, started)
        _host_metrics(db, tx, host, facts, started)
        _host_cpus(db, tx, host, facts)
        pci_records.refresh(db, tx, host, facts.pcis)
        domain = _control_domain(db, tx, model, me, facts, host)
        tx.set("host", host, "control_domain", domain)
        _consoles(db, tx, me, domain)
    return host


def _existing(db: Database, cls: str, uuid: Uuid) -> Ref | None:
    for row in db.rows(cls):
        if row.uuid == uuid:
            return row.ref
    return None


def _host(
    db: Database, tx: Transaction, model: Model, me: HostIdentity, facts: HostFacts, started: int
) -> Ref:
    versions = identity.software_version(model, me.hostname, facts, me.network_backend)
    major, minor = model.api_version
    refreshed = {
        "hostname": me.hostname,
        "address": me.address,
        "enabled": False,
        "software_version": versions,
        "API_version_major": major,
        "API_version_minor": minor,
        "API_version_vendor": "XenSource",
        "capabilities": identity.capabilities(facts),
        "cpu_info": identity.cpu_info(facts, model.profile),
        "chipset_info": dict(facts.chipset),
        "bios_strings": dict(facts.bios),
        "license_params": identity.host_license_params(
            model.profile, versions["product_version"], me.forbidden_features
        ),
        "virtual_hardware_platform_versions": (0, 1, 2),
        "memory_overhead": facts.memory_overhead,
    }
    host = _existing(db, "host", me.uuid)
    times = {"agent_start_time": f"{started}.", "boot_time": f"{facts.boot_time or started}."}
    if host is not None:
        old = db.row("host", host).other_config
        kept = {**old, "agent_start_time": times["agent_start_time"]}
        if facts.boot_time:
            kept["boot_time"] = times["boot_time"]
        tx.update("host", host, other_config=kept, **refreshed)
        return host
    if not me.has_local_storage:
        times["no_local_storage"] = "true"
    fresh = {
        "uuid": me.uuid,
        "name_label": me.hostname,
        "edition": "enterprise-per-socket" if model.profile == "7.1" else "premium",
        "other_config": {**times, "iscsi_iqn": _iqn(me)},
    }
    return tx.create("host", {**defaults.host(model.profile), **fresh, **refreshed})


def _iqn(me: HostIdentity) -> str:
    return f"iqn.2017-02.com.example:{me.uuid[:8]}"


def _host_metrics(db: Database, tx: Transaction, host: Ref, facts: HostFacts, started: int) -> None:
    fields = {
        "memory_total": facts.memory_total,
        "memory_free": facts.memory_free,
        "live": True,
        "last_updated": started,
    }
    metrics = db.row("host", host).metrics
    if db.find("host_metrics", metrics) is None:
        tx.set("host", host, "metrics", tx.create("host_metrics", fields))
    else:
        tx.update("host_metrics", metrics, **fields)


def _host_cpus(db: Database, tx: Transaction, host: Ref, facts: HostFacts) -> None:
    cpu = facts.cpu
    wanted = int(cpu.get("cpu_count", "1"))
    fields = {
        "vendor": cpu.get("vendor", ""),
        "speed": int(float(cpu.get("speed", "0") or 0)),
        "modelname": cpu.get("modelname", ""),
        "family": int(cpu.get("family", "0") or 0),
        "model": int(cpu.get("model", "0") or 0),
        "stepping": cpu.get("stepping", ""),
        "flags": cpu.get("flags", ""),
        "features": cpu.get("features", ""),
    }
    present = sorted(
        (db.row("host_cpu", r) for r in tuple(db.row("host", host).host_CPUs)),
        key=lambda row: row.number,
    )
    for row in present[wanted:]:
        tx.delete("host_cpu", row.ref)
    for row in present[:wanted]:
        tx.update("host_cpu", row.ref, **fields)
    for number in range(len(present), wanted):
        tx.create("host_cpu", {"host": host, "number": number, **fields})


def _control_domain(
    db: Database, tx: Transaction, model: Model, me: HostIdentity, facts: HostFacts, host: Ref
) -> Ref:
    vcpus = facts.control_domain_vcpus or int(facts.cpu.get("cpu_count", "1"))
    memory = facts.control_domain_memory
    refreshed = {
        **defaults.control_domain(me.hostname),
        "memory_static_max": memory,
        "memory_static_min": memory,
        "memory_dynamic_max": memory,
        "memory_dynamic_min": memory,
        "memory_target": memory,
        "VCPUs_max": vcpus,
        "VCPUs_at_startup": vcpus,
        "resident_on": host,
        "affinity": host,
    }
    domain = _existing(db, "VM", me.control_domain_uuid)
    if domain is not None:
        tx.update("VM", domain, **refreshed)
        return domain
    metrics = tx.create(
        "VM_metrics",
        {
            "memory_actual": memory,
            "VCPUs_number": vcpus,
            "state": ("running",),
        },
    )
    return tx.create(
        "VM",
        {
            "uuid": me.control_domain_uuid,
            "name_description": "The domain that manages the host's devices and other domains",
            "domain_type": "pv",
            "metrics": metrics,
            "guest_metrics": NULL_REF,
            **refreshed,
        },
    )


def console_location(me: HostIdentity, console: Ref) -> str:
    """Give the address of a console; the port is named only when it is not 443."""
    address = f"[{me.address}]" if ":" in me.address else me.address
    port = "" if me.https_port == 443 else f":{me.https_port}"
    return f"https://{address}{port}/console?ref={console}"


def _consoles(db: Database, tx: Transaction, me: HostIdentity, domain: Ref) -> None:
    present = {db.row("console", r).protocol: r for r in tuple(db.row("VM", domain).consoles)}
    for protocol, port in (("rfb", 5900), ("vt100", 9500)):
        console = present.get(protocol)
        if console is None:
            console = tx.create("console", {"VM": domain, "protocol": protocol, "port": port})
        tx.set("console", console, "location", console_location(me, console))
