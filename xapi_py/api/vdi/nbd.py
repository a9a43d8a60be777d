"""Where disks can be read over the network block device protocol."""

from typing import Any

from xapi_py.api.call import Call
from xapi_py.api.registry import message
from xapi_py.api.toolstack import Toolstack
from xapi_py.base.names import Ref
from xapi_py.datamodel import errors as err
from xapi_py.db.row import Row

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
            "port": call.toolstack.nbd_ports.get(address, NBD_PORT),
            "cert": _certificate(call, host),
            "subject": call.db.row("host", host).hostname,
        }
        for host in hosts
        for address in addresses(call.toolstack, host)
    )


def addresses(toolstack: Toolstack, host: Ref) -> list[str]:
    """Give the addresses of a host at which disks are served.

    A simulated host's cards are made up: it is reached where it listens.
    """
    found = [a for pif in _pifs(toolstack, host) for a in _addresses_of(pif)]
    if found and toolstack.settings.backend == "simulator" and host == toolstack.localhost:
        return [toolstack.settings.address]
    return list(dict.fromkeys(found))


def needs_tls(toolstack: Toolstack, host: Ref) -> bool:
    """Tell whether clients must use TLS: unless all such networks are for plain NBD."""
    db = toolstack.db
    purposes = [set(db.row("network", p.network).purpose) for p in _pifs(toolstack, host)]
    return any("nbd" in purpose for purpose in purposes)


def _pifs(toolstack: Toolstack, host: Ref) -> list[Row]:
    found = []
    for ref in toolstack.db.row("host", host).PIFs:
        pif = toolstack.db.row("PIF", ref)
        network = toolstack.db.find("network", pif.network)
        if network is not None and pif.currently_attached and NBD_PURPOSES & set(network.purpose):
            found.append(pif)
    return found


def _addresses_of(pif: Row) -> list[str]:
    return [a for a in (pif.IP, *(i.partition("/")[0] for i in pif.IPv6)) if a]


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
