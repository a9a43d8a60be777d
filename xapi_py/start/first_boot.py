"""The records of a fresh installation that belong to no host: pool, roles, templates.

Each is made when it is missing, so that a later release adds what is new.
Source: facts/defaults.yaml.
"""

from xapi_py.base.names import Ref, Uuid, new_uuid
from xapi_py.datamodel import defaults
from xapi_py.datamodel.license import pool_restrictions
from xapi_py.datamodel.model import Model
from xapi_py.datamodel.permission_rows import permission_ref, permission_uuid
from xapi_py.datamodel.templates import builtin
from xapi_py.db.database import Database
from xapi_py.db.transaction import Transaction
from xapi_py.plan.cpu_levelling import pool_cpu_info


def ensure(db: Database, model: Model, host: Ref) -> Ref:
    """Make what is missing and give the reference of the pool."""
    with db.transaction() as tx:
        _roles(db, tx, model)
        pool = _pool(db, tx, model, host)
        if db.count("user") == 0:
            tx.create("user", defaults.USER)
        _management_network(db, tx)
        _templates(db, tx, model)
    return pool


def _pool(db: Database, tx: Transaction, model: Model, host: Ref) -> Ref:
    cpu_info = pool_cpu_info([row.cpu_info for row in db.rows("host")], model.profile)
    master = db.row("host", host).license_params
    others = [r.license_params for r in db.rows("host") if r.ref != host]
    restrictions = pool_restrictions(model.profile, master, others)
    for row in db.rows("pool"):
        tx.update("pool", row.ref, cpu_info=cpu_info, restrictions=restrictions)
        return row.ref
    fresh: dict[str, object] = {"master": host, "restrictions": restrictions, "cpu_info": cpu_info}
    if "telemetry_uuid" in model.classes["pool"].fields:
        fresh["telemetry_uuid"] = tx.create("secret", {"value": new_uuid()})
    return tx.create("pool", {**defaults.pool(model.profile), **fresh})


ROLE_DESCRIPTIONS = {
    "pool-admin": "Everything, including the control domain's console, users and their roles",
    "pool-operator": "Hosts, pools, storage, networks, licences and alerts",
    "vm-power-admin": "Virtual machines with no limit: placement, resources, migration, snapshots",
    "vm-admin": "Make, change and remove virtual machines and templates",
    "vm-operator": "Start, stop and use virtual machines, change their discs",
    "read-only": "Look at everything, change nothing",
    "client-cert": "Clients that log in with a certificate",
}


def _roles(db: Database, tx: Transaction, model: Model) -> None:
    """Write the roles and their permissions as the profile has them.

    A permission is a row of class role too.  Rows that are right already are
    not touched, so a restart writes nothing.
    """
    refs = {name: permission_ref(name) for name in model.permission_names}
    held: dict[str, list[Ref]] = {name: [] for name in model.roles}
    for name, ref in refs.items():
        for holder in model.permissions[name.lower()]:
            held[holder].append(ref)
        fields = {"name_label": name.lower(), "is_internal": True, "subroles": ()}
        _put(db, tx, "role", ref, permission_uuid(name), fields)
    for role in model.roles.values():
        fields = {
            "name_label": role.name,
            "name_description": ROLE_DESCRIPTIONS.get(role.name, ""),
            "is_internal": role.internal,
            "subroles": tuple(held[role.name]),
        }
        _put(db, tx, "role", Ref(role.ref), Uuid(role.uuid), fields)
    wanted = {*refs.values(), *(Ref(r.ref) for r in model.roles.values())}
    for row in db.rows("role"):
        if row.ref not in wanted:
            tx.delete("role", row.ref)


def _put(
    db: Database, tx: Transaction, cls: str, ref: Ref, uuid: Uuid, fields: dict[str, object]
) -> None:
    if db.find(cls, ref) is None:
        tx.create(cls, {"ref": ref, "uuid": uuid, **fields})
    else:
        tx.update(cls, ref, **fields)


def _management_network(db: Database, tx: Transaction) -> None:
    for row in db.rows("network"):
        if row.other_config.get("is_host_internal_management_network") == "true":
            return
    tx.create("network", defaults.MANAGEMENT_NETWORK)


def _templates(db: Database, tx: Transaction, model: Model) -> None:
    """Make built-in templates that are missing, known by their uuids."""
    present = {row.uuid for row in db.rows("VM")}
    for template in builtin(model.profile):
        if template.uuid in present:
            continue
        metrics = tx.create("VM_metrics", {})
        tx.create("VM", {**template.vm_values(new_uuid()), "metrics": metrics})
