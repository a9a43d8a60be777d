"""Probe documents, in the forms that clients parse.

Source: briefs, storage section 3.2 and XenCenter section 7.  Numbers are
decimal text, empty members are left out where the originals leave them out.
"""

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

Member = tuple[str, str]
_HEAD = '<?xml version="1.0" ?>\n'


def _element(name: str, members: Iterable[Member], indent: str = "\t") -> str:
    lines = [f"{indent}<{name}>"]
    lines += [f"{indent}\t<{k}>{escape(v)}</{k}>" for k, v in members]
    return "\n".join([*lines, f"{indent}</{name}>"])


def _document(root: str, parts: Sequence[str]) -> str:
    if not parts:
        return f"{_HEAD}<{root}/>\n"
    return "\n".join([f"{_HEAD}<{root}>", *parts, f"</{root}>\n"])


def sr_list(srs: Iterable[Sequence[Member]], versions: Sequence[str] = ()) -> str:
    """SRs found by a probe, each as its members, and NFS versions if asked for."""
    parts = [_element("SR", members) for members in srs]
    if versions:
        parts.append(_element("SupportedVersions", [("Version", v) for v in versions]))
    return _document("SRlist", parts)


def nfs_exports(target: str, exports: Iterable[tuple[str, str]]) -> str:
    """Exports of a server as pairs of path and access list."""
    parts = [
        _element("Export", [("Target", target), ("Path", path), ("Accesslist", access)])
        for path, access in exports
    ]
    return _document("nfs-exports", parts)


def iscsi_targets(found: Iterable[tuple[str, int, str]], asked: str) -> str:
    """Discovered targets as (address, port, IQN), then the wildcard for all of them."""
    parts = []
    index = 0
    for index, (address, port, iqn) in enumerate(found, 1):
        members = [("Index", str(index - 1)), ("IPAddress", address)]
        if port != 3260:
            members.append(("Port", str(port)))
        parts.append(_element("TGT", [*members, ("TargetIQN", iqn)]))
    members = [("Index", str(index)), ("IPAddress", asked), ("TargetIQN", "*")]
    parts.append(_element("TGT", members))
    return _document("iscsi-target-iqns", parts)


def iscsi_luns(luns: Iterable[Sequence[Member]]) -> str:
    """LUNs of a target; members with empty text are left out."""
    parts = [_element("LUN", [m for m in members if m[1]]) for members in luns]
    return _document("iscsi-target", parts)


def block_devices(
    devices: Iterable[Sequence[Member]],
    adapters: Iterable[tuple[Sequence[Member], Sequence[Member]]],
) -> str:
    """LUNs behind host bus adapters, and the adapters with their port's members."""
    parts = [_element("BlockDevice", members) for members in devices]
    for members, port in adapters:
        text = _element("Adapter", members)
        if port:
            inner = _element("fc_host", port, "\t\t")
            text = text.removesuffix("\t</Adapter>") + inner + "\n\t</Adapter>"
        parts.append(text)
    return _document("Devlist", parts)
