"""The pool: membership, high availability, database, certificates."""

from typing import Any

from xapi_py.base.names import Ref
from xapi_py.cli.commands.hosts import set_licence_server
from xapi_py.cli.context import Context
from xapi_py.cli.parsing import parse_value
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.cli.transfers import confirm, download, upload
from xapi_py.datamodel.model import EnumOf, SetOf


@command("pool-join")
async def join(context: Context) -> None:
    """Make this host a member of another pool."""
    words = context.words
    method = "pool.join_force" if words.flag("force") else "pool.join"
    names = ("master-address", "master-username", "master-password")
    await context.api.call(method, *(words.need(name) for name in names))
    context.printer.listing(["Host agent will restart and join the pool"])


@command("pool-eject")
async def eject(context: Context) -> None:
    """Take a host out of the pool; asks first."""
    ref = context.by_uuid("host", context.words.need("host-uuid"))
    row, say = context.record("host", ref), context.client.say
    say(f"Host {row.uuid} ({row.name_label}) is about to leave the pool.")
    say("Its local storage is wiped, and it starts again as a pool of its own.")
    for pbd in row.PBDs:
        sr = context.record("SR", context.record("PBD", pbd).SR)
        if not sr.shared and len(sr.VDIs):
            say(f"SR : {sr.uuid} ({sr.name_label}) with {len(sr.VDIs)} disks")
    if await confirm(context):
        await context.api.call("pool.eject", ref)


@command("pool-emergency-transition-to-master")
async def transition(context: Context) -> None:
    """Make this host the coordinator when the old one is gone."""
    await context.api.call("pool.emergency_transition_to_master")
    context.printer.listing(["Host agent will restart as the pool coordinator"])


@command("pool-apply-edition")
async def apply_edition(context: Context) -> None:
    """License all hosts for an edition."""
    pool = context.optional("pool", "uuid")
    ref = pool if context.words.get("uuid") else Ref(context.pool.ref)
    for host in context.records("host"):
        await set_licence_server(context, host.ref)
    await context.api.call("pool.apply_edition", ref, context.words.need("edition"))


@command("pool-disable-ssl-legacy")
async def disable_old_tls(context: Context) -> None:
    """Refuse old TLS versions on all hosts."""
    if "pool.disable_ssl_legacy" in context.model.messages:
        await context.api.call("pool.disable_ssl_legacy", context.pool.ref)
        return
    context.printer.warning("This server has never spoken old TLS versions")


@command("pool-ha-enable")
async def enable_ha(context: Context) -> None:
    """Turn high availability on."""
    uuids = context.words.list_of("heartbeat-sr-uuids")
    srs = tuple(context.by_uuid("SR", uuid) for uuid in uuids)
    await context.api.call("pool.enable_ha", srs, context.words.members("ha-config"))


@command("pool-ha-compute-hypothetical-max-host-failures-to-tolerate")
async def hypothetical(context: Context) -> None:
    """Show how many failures the pool would survive with these VMs protected."""
    pairs = context.words.pairs
    vms = [context.by_uuid("VM", value) for key, value in pairs if key == "vm-uuid"]
    priorities = [value for key, value in pairs if key == "restart-priority"]
    if len(vms) != len(priorities):
        raise CommandFailed("Call with vm-uuid and restart-priority in pairs")
    plan = dict(zip(vms, priorities, strict=True))
    method = "pool.ha_compute_hypothetical_max_host_failures_to_tolerate"
    context.printer.listing([str(await context.api.call(method, plan))])


@command("pool-ha-compute-vm-failover-plan")
async def failover_plan(context: Context) -> None:
    """Show where protected VMs would start if hosts failed."""
    hosts = tuple(context.by_uuid("host", u) for u in context.words.list_of("host-uuids"))
    residents = [vm for host in hosts for vm in context.record("host", host).resident_VMs]
    vms = tuple(vm for vm in residents if not context.record("VM", vm).is_control_domain)
    plan = await context.api.call("pool.ha_compute_vm_failover_plan", hosts, vms)
    table: list[list[tuple[str, str]]] = []
    for vm, values in plan.items():
        record = [("uuid", context.uuid("VM", vm)), ("name-label", context.name("VM", vm))]
        if "host" in values:
            record.append(("host", context.uuid("host", values["host"])))
        record += [(k, v) for k, v in values.items() if k != "host"]
        table.append(record)
    context.printer.table(table)


@command("pool-dump-database")
async def dump_database(context: Context) -> None:
    """Save the pool's database."""
    filename = context.words.need("file-name")
    await download(context, "Dump database", filename, "/pool/xmldbdump", {})


@command("pool-restore-database")
async def restore_database(context: Context) -> None:
    """Restore the pool's database."""
    words = context.words
    dry_run = words.flag("dry-run")
    query = {"dry_run": "true" if dry_run else "false"}
    await upload(context, "Restore database", words.need("file-name"), "/pool/xmldbdump", query)
    if not dry_run:
        context.printer.message("The server restarts with the restored database")


@command("pool-sync-bundle")
async def sync_bundle(context: Context) -> None:
    """Upload a bundle of updates."""
    await upload(context, "Sync bundle", context.words.need("filename"), "/bundle", {})


async def _file_text(context: Context, name: str) -> str:
    return (await context.client.load(context.words.need(name))).decode("utf-8", "replace")


def _base_name(context: Context) -> str:
    return context.words.need("filename").rpartition("/")[2]


@command("pool-certificate-install", "pool-install-ca-certificate", "pool-crl-install")
async def install_certificate(context: Context) -> None:
    """Install a certificate or revocation list under its file's name."""
    text = await _file_text(context, "filename")
    method = {
        "pool-certificate-install": "pool.certificate_install",
        "pool-install-ca-certificate": "pool.install_ca_certificate",
        "pool-crl-install": "pool.crl_install",
    }[context.command.name]
    await context.api.call(method, _base_name(context), text)


@command("pool-install-trusted-certificate")
async def install_trusted(context: Context) -> None:
    """Install a certificate for certain purposes."""
    words = context.words
    pool = context.optional("pool", "uuid") if words.get("uuid") else context.pool.ref
    purpose: Any = parse_value(
        context, "purpose", words.get("purpose"), SetOf(EnumOf("certificate_purpose"))
    )
    ca = words.flag("ca")
    text = await _file_text(context, "filename")
    await context.api.call("pool.install_trusted_certificate", pool, ca, text, purpose)


@command("repository-introduce-remote-pool")
async def remote_pool(context: Context) -> None:
    """Use another pool as update repository."""
    words = context.words
    ref = await context.api.call(
        "Repository.introduce_remote_pool",
        words.need("name-label"),
        words.get("name-description"),
        words.need("binary-url"),
        await _file_text(context, "certificate-file"),
    )
    context.printer.listing([context.uuid("Repository", ref)])


@command("pool-retrieve-wlb-recommendations")
async def recommendations(context: Context) -> None:
    """Show which VMs workload balancing would move."""
    found = await context.api.call("pool.retrieve_wlb_recommendations")
    context.printer.table([[(context.name("VM", vm), " ".join(w))] for vm, w in found.items()])


@command("pool-retrieve-wlb-report", "pool-retrieve-wlb-diagnostics")
async def report(context: Context) -> None:
    """Print or save what the workload balancing server reports."""
    words = context.words
    if context.command.name == "pool-retrieve-wlb-diagnostics":
        await download(context, "WLB diagnostics", words.get("filename"), "/wlb_diagnostics", {})
        return
    own = {"report", "filename", "username", "password"}
    query = {key: value for key, value in words.pairs if key not in own}
    query["report"] = words.need("report")
    await download(context, "WLB report", words.get("filename"), "/wlb_report", query)


@command("patch-upload", "update-upload")
async def upload_update(context: Context) -> None:
    """Upload a patch or an update, and print its uuid."""
    words = context.words
    if context.command.name == "patch-upload":
        cls, path, query = "pool_patch", "/pool_patch_upload", {}
    else:
        sr = context.optional("SR", "sr-uuid") if words.get("sr-uuid") else context.pool.default_SR
        cls, path, query = "pool_update", "/import_raw_vdi", {"sr_id": str(sr)}
    result = await upload(context, "Upload", words.need("file-name"), path, query)
    reference = result.replace("<value>", "").replace("</value>", "")
    if cls == "pool_update":
        reference = await context.api.call("pool_update.introduce", reference)
    context.printer.listing([context.uuid(cls, reference)])
