"""Hosts: licences, files, membership, what runs on them."""

import time
from typing import Any

from xapi_py.base.names import Ref
from xapi_py.cli.context import Context
from xapi_py.cli.multiple import for_each
from xapi_py.cli.problems import CommandFailed
from xapi_py.cli.registry import command
from xapi_py.cli.rendering import members_text
from xapi_py.cli.selecting import select
from xapi_py.cli.transfers import confirm, download, upload
from xapi_py.datamodel.model import MapOf, String

_TEXTS = MapOf(String(), String())


def _host(context: Context, name: str = "host-uuid") -> Ref:
    """Give the host a parameter names, else this one."""
    uuid = context.words.get(name)
    return context.by_uuid("host", uuid) if uuid else context.this_host


def _print_map(context: Context, values: dict[str, str]) -> None:
    pairs = list(members_text(context, values, _TEXTS).items())
    if pairs:
        context.printer.single(pairs)


async def set_licence_server(context: Context, host: Ref) -> None:
    """Write the licence server given on the command line to a host."""
    server = dict(context.record("host", host).license_server)
    for key in ("address", "port"):
        if context.words.has(f"license-server-{key}"):
            server[key] = context.words.get(f"license-server-{key}")
    await context.api.call("host.set_license_server", host, server)


@command("host-apply-edition")
async def apply_edition(context: Context) -> None:
    """License a host for an edition."""
    host = _host(context)
    await set_licence_server(context, host)
    await context.api.call("host.apply_edition", host, context.words.need("edition"), False)


@command("host-license-view")
async def view_licence(context: Context) -> None:
    """Show a host's licence."""
    _print_map(context, context.record("host", _host(context)).license_params)


@command("host-license-add")
async def add_licence(context: Context) -> None:
    """Install a licence file."""
    content = await context.client.load(context.words.need("license-file"))
    text = content.decode("utf-8", "replace")
    await context.api.call("host.license_add", _host(context), text)


@command("host-cpu-info")
async def cpu_info(context: Context) -> None:
    """Show a host's processors."""
    _print_map(context, context.record("host", _host(context, "uuid")).cpu_info)


@command("host-get-cpu-features")
async def cpu_features(context: Context) -> None:
    """Show the feature mask of a host's processors."""
    info = context.record("host", _host(context, "uuid")).cpu_info
    context.printer.listing([info.get("features", info.get("features_hvm", ""))])


@command("pool-get-cpu-features")
async def pool_cpu_features(context: Context) -> None:
    """Show the feature mask all hosts have."""
    info = context.pool.cpu_info
    context.printer.listing([info.get("features", info.get("features_hvm", ""))])


@command("host-enable")
async def enable(context: Context) -> None:
    """Let VMs start on hosts again."""

    async def one(row: Any) -> None:
        for key in ("MAINTENANCE_MODE", "MAINTENANCE_MODE_EVACUATED_VMS_SUSPENDED"):
            await context.api.call("host.remove_from_other_config", row.ref, key)
        await context.api.call("host.enable", row.ref)

    await for_each(context, await select(context, "host"), one)


@command("host-forget", "host-declare-dead")
async def forget(context: Context) -> None:
    """Remove a host that is gone, or state that it is off; asks first."""
    ref = context.by_uuid("host", context.words.need("uuid"))
    row, say = context.record("host", ref), context.client.say
    if context.command.name == "host-forget":
        say(f"Host {row.uuid} ({row.name_label}) is about to be forgotten")
        say("with the records of everything that only this host could reach.")
        method = "host.destroy"
    else:
        say(f"Host {row.uuid} ({row.name_label}) is about to be declared dead.")
        say("If it is in fact running, its VMs may be damaged.")
        method = "host.declare_dead"
    if await confirm(context):
        await context.api.call(method, ref)


@command("host-get-vms-which-prevent-evacuation")
async def prevent_evacuation(context: Context) -> None:
    """List the VMs that cannot leave a host, with the reasons."""
    ref = context.by_uuid("host", context.words.need("uuid"))
    found = await context.api.call("host.get_vms_which_prevent_evacuation", ref)
    context.printer.table(
        [
            [
                ("uuid", context.uuid("VM", vm)),
                ("name-label", context.name("VM", vm)),
                ("reason", " ".join(reason)),
            ]
            for vm, reason in found.items()
        ]
    )


@command("host-retrieve-wlb-evacuate-recommendations")
async def evacuate_recommendations(context: Context) -> None:
    """Show where workload balancing would move the VMs of a host."""
    ref = context.by_uuid("host", context.words.need("uuid"))
    found = await context.api.call("host.retrieve_wlb_evacuate_recommendations", ref)
    context.printer.table([[(context.name("VM", vm), " ".join(w))] for vm, w in found.items()])


@command("host-emergency-ha-disable")
async def emergency_ha_disable(context: Context) -> None:
    """Turn high availability off on this host alone."""
    if not context.words.flag("force"):
        raise CommandFailed(
            "Without high availability a VM may run twice and be damaged: "
            "if you are sure that cannot happen, use --force"
        )
    soft = [True] if context.words.flag("soft") else []
    await context.api.call("host.emergency_ha_disable", *soft)


async def _one_host(context: Context) -> Any:
    return (await select(context, "host", multiple=False))[0]


@command("host-backup")
async def backup(context: Context) -> None:
    """Save a host's control domain."""
    host = await _one_host(context)
    filename = context.words.need("file-name")
    await download(context, "Host backup", filename, "/host_backup", {}, host.ref)


@command("host-restore")
async def restore(context: Context) -> None:
    """Restore a host's control domain."""
    host = await _one_host(context)
    filename = context.words.need("file-name")
    await upload(context, "Host restore", filename, "/host_restore", {}, host.ref)


@command("host-logs-download")
async def logs(context: Context) -> None:
    """Save a host's logs."""
    host = await _one_host(context)
    stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    filename = context.words.get("file-name") or f"logs-{host.name_label}-{stamp}"
    label = "Host logs download"
    await download(context, label, filename, "/host_logs_download", {}, host.ref)


@command("host-get-system-status")
async def system_status(context: Context) -> None:
    """Save a host's status report."""
    host, words = await _one_host(context), context.words
    output = words.get("output", "tar.bz2")
    if output not in ("tar.bz2", "tar", "zip"):
        raise CommandFailed("output is one of tar.bz2, tar and zip")
    query = {"entries": words.get("entries"), "output": output}
    label, filename = "System status", words.need("filename")
    await download(context, label, filename, "/system-status", query, host.ref)


@command("host-server-certificate-install")
async def install_certificate(context: Context) -> None:
    """Install a certificate and its key on a host."""
    host, words = await _one_host(context), context.words
    names = ("certificate", "private-key", "certificate-chain")
    texts = [
        (await context.client.load(words.get(name))).decode("utf-8", "replace")
        if words.has(name)
        else ""
        for name in names
    ]
    await context.api.call("host.install_server_certificate", host.ref, *texts)


@command("hostdriver-select")
async def select_variant(context: Context) -> None:
    """Choose a variant of a driver by its name."""
    ref = context.by_uuid("Host_driver", context.words.need("uuid"))
    wanted = context.words.need("variant-name")
    for variant in context.record("Host_driver", ref).variants:
        if context.record("Driver_variant", variant).name == wanted:
            await context.api.call("Host_driver.select", ref, variant)
            return
    raise CommandFailed(f"The driver has no variant {wanted}")
