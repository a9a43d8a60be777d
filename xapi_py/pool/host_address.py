"""The address clients reach a host at, and the addresses of consoles that follow from it."""

from urllib.parse import urlsplit

from xapi_py.db.database import Database
from xapi_py.db.row import Row
from xapi_py.db.transaction import Transaction


def console_base(address: str, https_port: int) -> str:
    """Give the address of a host's consoles; the port is named only when it is not 443."""
    name = f"[{address}]" if ":" in address else address
    port = "" if https_port == 443 else f":{https_port}"
    return f"https://{name}{port}/console?ref="


def of_interface(pif: Row) -> str:
    """Give the address of an interface that counts, empty without any."""
    if pif.primary_address_type == "IPv6":
        return next((text.partition("/")[0] for text in pif.IPv6 if text), "")
    return str(pif.IP)


def management_address(db: Database, host: Row) -> str:
    """Give the address of a host's management interface, empty without any."""
    for ref in host.PIFs:
        pif = db.row("PIF", ref)
        if pif.management and pif.currently_attached:
            return of_interface(pif)
    return ""


def moved(db: Database, tx: Transaction, host: Row, address: str) -> None:
    """Note that a host is reached at another address: in its record and its guests' consoles."""
    if not address or address == host.address:
        return
    tx.set("host", host.ref, "address", address)
    for ref in host.resident_VMs:
        for console in db.row("VM", ref).consoles:
            old = urlsplit(db.row("console", console).location)
            if old.hostname:
                base = console_base(address, old.port or 443)
                tx.set("console", console, "location", f"{base}{console}")
