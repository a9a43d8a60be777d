"""Alerts, users and roles, limits: records that people and programs leave."""

from xapi_py.base.names import Ref
from xapi_py.cli.context import Context
from xapi_py.cli.parsing import parse_value
from xapi_py.cli.plain_commands import constructor_record
from xapi_py.cli.problems import CommandFailed, MissingParameter
from xapi_py.cli.registry import command
from xapi_py.datamodel.model import Float, Int

ALERT_OWNERS = {"vm": "VM", "host": "Host", "sr": "SR", "pool": "Pool"}


@command("message-create")
async def create_message(context: Context) -> None:
    """Raise an alert."""
    words = context.words
    given = [(cls, f"{key}-uuid") for key, cls in ALERT_OWNERS.items() if words.has(f"{key}-uuid")]
    if len(given) != 1:
        raise CommandFailed("Need one of: vm-uuid, host-uuid, sr-uuid or pool-uuid")
    cls, name = given[0]
    priority = parse_value(context, "priority", words.need("priority"), Int())
    await context.api.call(
        "message.create", words.need("name"), priority, cls, words.get(name), words.need("body")
    )


@command("message-destroy")
async def destroy_messages(context: Context) -> None:
    """Dismiss alerts."""
    uuids = context.words.list_of("uuids") + context.words.list_of("uuid")
    if not uuids:
        raise MissingParameter("uuid")
    refs = tuple(context.by_uuid("message", uuid) for uuid in uuids)
    if "message.destroy_many" in context.model.messages:
        await context.api.call("message.destroy_many", refs)
        return
    for ref in refs:
        await context.api.call("message.destroy", ref)


@command("message-destroy-all")
async def destroy_all(context: Context) -> None:
    """Dismiss all alerts, or those of a time or priority."""
    words = context.words
    names = ("before", "after", "priority")
    filters = {name: words.get(name) for name in names if words.has(name)}
    await context.api.call("message.destroy_all", filters)


@command("subject-add")
async def add_subject(context: Context) -> None:
    """Let a user or group of the directory in."""
    call, name = context.api.call, context.words.need("subject-name")
    sid = await call("auth.get_subject_identifier", name)
    known = await call("auth.get_subject_information_from_identifier", sid)
    record = constructor_record(
        context, "subject", subject_identifier=sid, other_config=dict(known)
    )
    ref = await call("subject.create", record)
    context.printer.listing([context.uuid("subject", ref)])


@command("subject-role-add", "subject-role-remove")
async def change_role(context: Context) -> None:
    """Give a role to a user or group, or take it away."""
    words = context.words
    subject = context.by_uuid("subject", words.need("uuid"))
    if words.has("role-uuid") == words.has("role-name"):
        raise CommandFailed("Give one of role-name and role-uuid")
    if words.has("role-uuid"):
        role = context.by_uuid("role", words.get("role-uuid"))
    else:
        found = context.api.read("role.get_by_name_label", words.get("role-name"))
        if not found:
            raise CommandFailed(f"There is no role {words.get('role-name')}")
        role = Ref(found[0])
    verb = "add_to" if context.command.name == "subject-role-add" else "remove_from"
    await context.api.call(f"subject.{verb}_roles", subject, role)


@command("session-subject-identifier-list")
async def list_users(context: Context) -> None:
    """List the directory users that are logged in."""
    found = await context.api.call("session.get_all_subject_identifiers")
    context.printer.table([[("subject-identifier ( RO)", sid)] for sid in found])


@command("session-subject-identifier-logout-all")
async def logout_users(context: Context) -> None:
    """Log out all directory users."""
    for sid in await context.api.call("session.get_all_subject_identifiers"):
        await context.api.call("session.logout_subject_identifier", sid)


@command("caller-query-usage")
async def query_usage(context: Context) -> None:
    """Show how much a kind of client, or a group of them, uses the API."""
    words, call = context.words, context.api.call
    if words.has("uuid") == words.has("group"):
        raise CommandFailed("Give one of uuid and group")
    if words.has("uuid"):
        ref = context.by_uuid("Caller", words.get("uuid"))
        tokens = await call("Caller.query_token_usage", ref)
        calls = await call("Caller.query_call_count", ref)
    else:
        tokens = await call("Caller.query_group_token_usage", words.get("group"))
        calls = await call("Caller.query_group_call_count", words.get("group"))
    context.printer.table([[("tokens", f"{tokens:.3f}"), ("calls", f"{calls}")]])


@command("rate-limit-create")
async def create_limit(context: Context) -> None:
    """Limit how often clients may call."""
    words = context.words
    record = constructor_record(
        context,
        "Rate_limit",
        name_label=words.get("name-label"),
        name_description=words.get("name-description"),
        burst_size=parse_value(context, "burst-size", words.need("burst-size"), Float()),
        fill_rate=parse_value(context, "fill-rate", words.need("fill-rate"), Float()),
    )
    ref = await context.api.call("Rate_limit.create", record)
    uuids = words.list_of("caller-uuids") + words.list_of("caller-uuid")
    for uuid in uuids:
        caller = context.by_uuid("Caller", uuid)
        await context.api.call("Rate_limit.add_caller", ref, caller)
    context.printer.listing([context.uuid("Rate_limit", ref)])
