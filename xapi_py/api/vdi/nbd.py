"""Where disks can be read over the network block device protocol."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err

NBD_PORT = 10809
NBD_PURPOSES = frozenset({"nbd", "insecure_nbd"})


@message("VDI.get_nbd_info")
def get_nbd_info(call: Call, self: Ref) -> tuple[dict[str, Any], ...]:
    """List where the disk can be read over NBD: an entry for each address of each host.

    Empty while no network has such a purpose.  Errors: VDI_INCOMPATIBLE_TYPE.
    """
    row = call.db.row("VDI", self)
    if row.type == "cbt_metadata":
        raise err.VDI_INCOMPATIBLE_TYPE(self, row.type)
    export = f"/{row.uuid}?session_id={call.session.ref}"
    sr = call.db.row("SR", row.SR)
    hosts = [p.host for r in sr.PBDs if (p := call.db.row("PBD", r)).currently_attached]
    return tuple(
        {
            "exportname": export,
            "address": address,
            "port": NBD_PORT,
            "cert": _certificate(call, host),
            "subject": call.db.row("host", host).hostname,
        }
        for host in hosts
        for address in _nbd_addresses(call, host)
    )


def _nbd_addresses(call: Call, host: Ref) -> list[str]:
    found: list[str] = []
    for ref in call.db.row("host", host).PIFs:
        pif = call.db.row("PIF", ref)
        network = call.db.find("network", pif.network)
        if network is None or not pif.currently_attached:
            continue
        if NBD_PURPOSES & set(network.purpose):
            found += [a for a in (pif.IP, *(i.partition("/")[0] for i in pif.IPv6)) if a]
    return found


def _certificate(call: Call, host: Ref) -> str:
    """Give the certificate clients must see, empty where there is none in the records."""
    settings = call.toolstack.settings
    if host == call.toolstack.localhost:
        path = settings.state / "xapi-ssl.pem"
        if path.exists():
            text = path.read_text(encoding="ascii")
            start, end = text.find("-----BEGIN CERT"), text.rfind("-----END CERT")
            if 0 <= start < end:
                return text[start:] if end < 0 else text[start : text.find("\n", end) + 1]
    return ""
