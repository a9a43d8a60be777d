"""How the simulator answers as each SR type: device_config checks and probes.

A type turns a device_config into a ``Place`` (which medium, how large, how
disks are kept on it) or fails with the number the real driver gives.
Source: briefs, storage sections 1.2, 3 and 6.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from sm import errors, lun_choice, probe_xml
from sm.config import ExportConfig, ImageConfig, IscsiTargetConfig
from sm.contract import Config
from sm.drivers.array import Array, Lun, export_at, missing, portal
from sm.drivers.medium import SrRow
from sm.drivers.volumes import Provisioning
from xapi_py.base.rpc.errors import RpcError

Found = Callable[[str, bool, int], Sequence[SrRow]]
"""SRs on a medium, asked with key, shared and capacity."""

DUMMY_BYTES: Final = 2_000_000_000_000
NFS_VERSIONS: Final = ("3", "4", "4.0", "4.1")


@dataclass(frozen=True, slots=True)
class Item:
    """A ready-made VDI: a disc image, a drive or a LUN."""

    location: str
    name_label: str
    size_bytes: int
    description: str = ""
    sm_config: Config = field(default_factory=dict)
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where an SR is: ``key`` names the medium, ``shared`` whether all hosts see it.

    ``single``: a medium of this kind carries one SR only.  ``items``: the
    VDIs are given by the medium, not made by users.
    """

    key: str
    shared: bool
    capacity_bytes: int
    provisioning: Provisioning = "thin"
    single: bool = False
    read_only: bool = False
    items: tuple[Item, ...] | None = None
    sm_config: Config = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """What a type needs to see: the array, the host's initiator name, SRs on media, SRs in use."""

    array: Array
    initiator_iqn: str
    found: Found
    in_use: Callable[[Lun], bool]


class SrType(Protocol):
    """One SR type of the simulator."""

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        """Check a device_config and find the medium."""

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        """Give the probe document."""


class _Nfs:
    def export_of(self, look: Look, config: Config) -> ExportConfig:
        if not config.get("server"):
            raise missing(errors.CONFIG_SERVER_MISSING)
        version = config.get("nfsversion") or "3"
        if version not in NFS_VERSIONS:
            raise errors.backend_failure(errors.NFS_VERSION, "Invalid nfsversion.")
        server = look.array.nfs_server(config["server"])
        if not config.get("serverpath"):
            exports = [(e.path, e.access) for e in server.exports]
            document = probe_xml.nfs_exports(config["server"], exports)
            raise missing(errors.CONFIG_SERVER_PATH_MISSING, document)
        if version.partition(".")[0] not in server.versions:
            raise errors.backend_failure(errors.NFS_VERSION, "server does not offer the version")
        export = export_at(server, config["serverpath"])
        if export is None:
            where = f"{config['server']}:{config['serverpath']}"
            raise errors.backend_failure(
                errors.NFS_MOUNT, f"mount failed on server {where} with return code 32"
            )
        return export

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        export = self.export_of(look, config)
        if export.read_only:
            raise errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
        key = f"nfs-{look.array.resolve(config['server'])}-{export.path}"
        return Place(key, True, export.size_bytes)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        place = self.place(look, config, create=False)
        server = look.array.nfs_server(config["server"])
        versions = server.versions if "probeversion" in config else ()
        rows = look.found(place.key, True, place.capacity_bytes)
        return probe_xml.sr_list([[("UUID", r.uuid)] for r in rows if r.type == "nfs"], versions)


class _Smb:
    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        if not config.get("server"):
            raise missing(errors.CONFIG_SERVER_MISSING)
        if not look.array.config.smb_licensed:
            raise errors.backend_failure(errors.NO_SMB_LICENCE)
        host, name = _unc(config["server"])
        if not host or not name:
            raise errors.backend_failure(errors.SMB_MOUNT, "mount failed with return code 1")
        user, password = config.get("username", ""), config.get("password", "")
        share = look.array.smb_share(host, name, user, password)
        if share.read_only:
            raise errors.backend_failure(errors.READ_ONLY_FILE_SYSTEM)
        key = f"smb-{look.array.resolve(host)}-{share.name}"
        return Place(key, True, share.size_bytes)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        place = self.place(look, config, create=False)
        rows = look.found(place.key, True, place.capacity_bytes)
        return probe_xml.sr_list([[("UUID", r.uuid)] for r in rows if r.type == "smb"])


def _unc(text: str) -> tuple[str, str]:
    """Split ``\\\\host\\share[\\folder]`` or the same with slashes."""
    parts = text.replace("\\", "/").lstrip("/").split("/")
    return parts[0], parts[1] if len(parts) > 1 else ""


def _volume_groups(rows: Sequence[SrRow], devices: str, size: int, metadata: bool) -> str:
    srs = []
    for row in rows:
        members = [("UUID", row.uuid), ("Devlist", devices), ("size", str(size))]
        if metadata:
            members += [
                ("name_label", row.name_label),
                ("name_description", row.name_description),
                ("pool_metadata_detected", "false"),
            ]
        srs.append(members)
    return probe_xml.sr_list(srs)


@dataclass(frozen=True, slots=True)
class _LocalDisks:
    """ext and lvm: one or more local disks."""

    provisioning: Provisioning
    sr_type: str

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        devices = [d.strip() for d in config.get("device", "").split(",") if d.strip()]
        if not devices:
            raise missing(errors.CONFIG_DEVICE_MISSING)
        disks = [look.array.disk(d) for d in devices]
        size = sum(d.size_bytes for d in disks)
        key = "disk-" + "+".join(sorted(d.device for d in disks))
        return Place(key, False, size, self.provisioning, single=True)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        place = self.place(look, config, create=False)
        rows = look.found(place.key, False, place.capacity_bytes)
        mine = [r for r in rows if r.type == self.sr_type]
        metadata = sm_config.get("metadata") == "true"
        return _volume_groups(mine, config["device"], place.capacity_bytes, metadata)


class _Path:
    """file: a folder of the host."""

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        location = config.get("location", "")
        if not location:
            raise missing(errors.CONFIG_LOCATION_MISSING)
        folder = look.array.folder(location)
        if folder is None:
            raise errors.backend_failure(61, "location does not exist")
        return Place(f"folder-{folder.path}", False, folder.size_bytes)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        place = self.place(look, config, create=False)
        rows = look.found(place.key, False, place.capacity_bytes)
        return probe_xml.sr_list([[("UUID", r.uuid)] for r in rows if r.type == "file"])


@dataclass(frozen=True, slots=True)
class _Session:
    """A log-in to one or more iSCSI targets."""

    targets: tuple[IscsiTargetConfig, ...]
    luns: tuple[Lun, ...]


def _log_in(look: Look, config: Config) -> _Session:
    """Discover and log in as a driver does, failing with what is missing.

    Errors, in this order: 95, 97, 142, 140, 141, 68, 96 with the targets.
    """
    asked = config.get("target", "")
    if not asked:
        raise missing(errors.CONFIG_TARGET_MISSING)
    if not (config.get("localIQN") or look.initiator_iqn):
        raise missing(97)
    port = _port(config)
    portals = [portal(t.strip(), port) for t in asked.split(",") if t.strip()]
    answering = [(a, p, t) for a, p in portals for t in look.array.targets_at(a, p)]
    wanted = config.get("targetIQN", "")
    if not wanted or wanted != "*" and all(t.iqn != wanted for _, _, t in answering):
        for _, _, target in answering:
            if target.discovery_chap:
                _authenticate(target, config)
        document = probe_xml.iscsi_targets(_discovered(answering), asked)
        raise missing(errors.CONFIG_TARGET_IQN_MISSING, document)
    targets = tuple({t.iqn: t for _, _, t in answering if wanted in ("*", t.iqn)}.values())
    for target in targets:
        _authenticate(target, config)
    luns = tuple(lun for t in targets for lun in look.array.luns_of_target(t))
    return _Session(targets, luns)


def _port(config: Config) -> int:
    text = config.get("port") or "3260"
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise missing(errors.ISCSI_PORT)
    return int(text)


def _discovered(
    answering: list[tuple[str, int, IscsiTargetConfig]],
) -> Iterator[tuple[str, int, str]]:
    seen: set[tuple[str, int, str]] = set()
    for _, _, target in answering:
        for text in target.portals:
            entry = (*portal(text), target.iqn)
            if entry not in seen:
                seen.add(entry)
                yield entry


def _authenticate(target: IscsiTargetConfig, config: Config) -> None:
    given = (config.get("chapuser", ""), config.get("chappassword", ""))
    if target.chap_user and given != (target.chap_user, target.chap_password):
        raise errors.backend_failure(errors.ISCSI_LOGIN)
    incoming = (config.get("incoming_chapuser", ""), config.get("incoming_chappassword", ""))
    expected = (target.incoming_chap_user, target.incoming_chap_password)
    if incoming[0] and incoming != expected:
        raise errors.backend_failure(errors.ISCSI_LOGIN)


def _lun_members(lun: Lun) -> list[tuple[str, str]]:
    return [
        ("vendor", lun.vendor),
        ("serial", lun.serial),
        ("LUNid", str(lun.id)),
        ("size", str(lun.size_bytes)),
        ("SCSIid", lun.scsi_id),
    ]


def _on_lun(lun: Lun, config: Config) -> Place:
    thin = config.get("allocation") in ("thin", "xlvhd")
    provisioning: Provisioning = "thin" if thin else "thick"
    sm_config = {
        "allocation": provisioning,
        "use_vhd": "true",
        "multipathable": "true",
        "devserial": f"scsi-{lun.scsi_id}",
    }
    return Place(lun.key, True, lun.size_bytes, provisioning, single=True, sm_config=sm_config)


class _LvmOverIscsi:
    def _lun(self, look: Look, config: Config) -> Lun:
        session = _log_in(look, config)
        lun = lun_choice.pick(session.luns, config)
        if lun is None:
            document = probe_xml.iscsi_luns(_lun_members(n) for n in session.luns)
            raise missing(errors.CONFIG_SCSI_ID, document)
        return lun

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        return _on_lun(self._lun(look, config), config)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        lun = self._lun(look, config)
        rows = look.found(lun.key, True, lun.size_bytes)
        metadata = sm_config.get("metadata") == "true"
        return _volume_groups(rows, f"/dev/disk/by-id/scsi-{lun.scsi_id}", lun.size_bytes, metadata)


def _adapter_document(look: Look, luns: Sequence[Lun], kinds: Sequence[str]) -> str:
    devices = []
    for index, lun in enumerate(luns):
        assert lun.adapter is not None
        number = lun.adapter.host.removeprefix("host")
        members = [
            ("path", f"/dev/sd{chr(ord('d') + index)}"),
            ("numpaths", str(lun.paths)),
            ("SCSIid", lun.scsi_id),
            ("vendor", lun.vendor),
            ("serial", lun.serial),
            ("size", str(lun.size_bytes)),
            ("adapter", number),
            ("channel", "0"),
            ("id", "0"),
            ("lun", str(lun.id)),
            ("hba", lun.adapter.name),
        ]
        if lun.adapter.eth:
            members.append(("eth", lun.adapter.eth))
        if not look.in_use(lun):
            devices.append(members)
    adapters = []
    for adapter in look.array.config.adapters:
        if adapter.kind in kinds:
            number = adapter.host.removeprefix("host")
            members = [
                ("host", adapter.host),
                ("name", adapter.name),
                ("manufacturer", adapter.manufacturer),
                ("id", number),
            ]
            port = [
                ("node_name", adapter.node_name or f"0x2000{int(number or 0):012x}"),
                ("port_name", adapter.port_name or f"0x2100{int(number or 0):012x}"),
            ]
            adapters.append((members, port))
    return probe_xml.block_devices(devices, adapters)


@dataclass(frozen=True, slots=True)
class _LvmOverAdapter:
    kinds: tuple[str, ...]

    def _lun(self, look: Look, config: Config) -> Lun:
        luns = look.array.luns_of_adapters(*self.kinds)
        lun = lun_choice.pick(luns, config)
        if lun is None:
            raise missing(errors.CONFIG_SCSI_ID, _adapter_document(look, luns, self.kinds))
        return lun

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        return _on_lun(self._lun(look, config), config)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        lun = self._lun(look, config)
        rows = look.found(lun.key, True, lun.size_bytes)
        metadata = sm_config.get("metadata") == "true"
        return _volume_groups(rows, f"/dev/disk/by-id/scsi-{lun.scsi_id}", lun.size_bytes, metadata)


def _lun_items(luns: Sequence[Lun]) -> tuple[Item, ...]:
    return tuple(
        Item(
            f"/dev/disk/by-id/scsi-{lun.scsi_id}",
            f"LUN {lun.id}",
            lun.size_bytes,
            f"{lun.vendor} {lun.serial}",
            {"SCSIid": lun.scsi_id, "LUNid": str(lun.id), "backend-kind": "vbd"},
            read_only=False,
        )
        for lun in luns
    )


class _IscsiLuns:
    """iscsi: every LUN of a target is a VDI."""

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        session = _log_in(look, config)
        size = sum(lun.size_bytes for lun in session.luns)
        key = "luns-" + "+".join(t.iqn for t in session.targets)
        return Place(key, True, size, "thick", items=_lun_items(session.luns))

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        session = _log_in(look, config)
        return probe_xml.iscsi_luns(_lun_members(n) for n in session.luns)


class _AdapterLuns:
    """hba and rawhba: every LUN of the adapters is a VDI."""

    def _kinds(self, config: Config) -> tuple[str, ...]:
        return {"FC": ("fc",), "SAS": ("sas",), "iSCSI": ()}.get(
            config.get("type", "any"), ("fc", "fcoe", "sas")
        )

    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        luns = look.array.luns_of_adapters(*self._kinds(config))
        size = sum(lun.size_bytes for lun in luns)
        return Place("luns-hba", True, size, "thick", items=_lun_items(luns))

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        kinds = self._kinds(config)
        return _adapter_document(look, look.array.luns_of_adapters(*kinds), kinds)


def _image_items(images: Sequence[ImageConfig], tools: bool = False) -> tuple[Item, ...]:
    names = (i for i in images if i.name.lower().endswith((".iso", ".img")))
    return tuple(
        Item(
            i.name,
            i.name,
            i.size_bytes,
            sm_config={"xs-tools": "true"} if tools and "tools" in i.name else {},
        )
        for i in names
    )


class _Iso:
    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        location = config.get("location", "")
        if not location:
            raise missing(220)
        if config.get("legacy_mode") == "true":
            return self._folder(look, location)
        kind = config.get("type") or ("cifs" if location.startswith(("//", "\\\\")) else "nfs_iso")
        if kind == "cifs":
            return self._share(look, config, location)
        host, separator, path = location.rpartition(":")
        if not separator or not path.startswith("/") or not host:
            raise missing(errors.ISO_LOCATION)
        nfs = {"server": host, "serverpath": path, "nfsversion": config.get("nfsversion", "")}
        try:
            export = _NFS.export_of(look, nfs)
        except RpcError as problem:
            if errors.number_of(problem) in (errors.NFS_MOUNT, errors.NFS_TARGET):
                raise missing(errors.ISO_MOUNT) from problem
            raise
        key = f"iso-nfs-{look.array.resolve(host)}-{export.path}"
        items = _image_items(export.images)
        return Place(key, True, export.size_bytes, read_only=export.read_only, items=items)

    def _folder(self, look: Look, location: str) -> Place:
        folder = look.array.folder(location)
        if folder is None:
            raise missing(226)
        items = _image_items(folder.images, folder.tools)
        return Place(f"iso-{folder.path}", False, folder.size_bytes, items=items)

    def _share(self, look: Look, config: Config, location: str) -> Place:
        if config.get("vers") not in (None, "", "1.0", "2.0", "3.0"):
            raise missing(errors.ISO_SMB_VERSION)
        host, name = _unc(location)
        if not host or not name:
            raise missing(errors.ISO_LOCATION)
        password = config.get("cifspassword", "")
        try:
            share = look.array.smb_share(host, name, config.get("username", ""), password)
        except RpcError as problem:
            if errors.number_of(problem) == errors.SMB_MOUNT:
                raise missing(errors.ISO_MOUNT) from problem
            raise
        key = f"iso-smb-{look.array.resolve(host)}-{share.name}"
        items = _image_items(share.images)
        return Place(key, True, share.size_bytes, read_only=share.read_only, items=items)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        raise errors.unsupported("")


class _Udev:
    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        location = config.get("location", "")
        if not location:
            raise missing(errors.CONFIG_LOCATION_MISSING)
        kind = location.rstrip("/").rpartition("/")[2]
        items = tuple(
            Item(
                drive.device,
                f"SCSI {index}:0:0:0",
                disc.size_bytes,
                disc.name,
                {"hotplugged_at": drive.hotplugged_at} if drive.hotplugged_at else {},
                read_only=kind == "cd",
            )
            for index, (drive, disc) in enumerate(look.array.drives(kind))
        )
        return Place(f"udev-{kind}", False, sum(i.size_bytes for i in items), items=items)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        raise errors.unsupported("")


class _Dummy:
    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        return Place("dummy", False, DUMMY_BYTES)

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        return probe_xml.sr_list([])


class _Shm:
    def place(self, look: Look, config: Config, *, create: bool) -> Place:
        location = config.get("location", "")
        if not location:
            raise missing(errors.CONFIG_LOCATION_MISSING)
        folder = look.array.folder(location)
        if folder is None:
            raise missing(226)
        return replace(_Dummy().place(look, config, create=create), key=f"shm-{folder.path}")

    def probe(self, look: Look, config: Config, sm_config: Config) -> str:
        raise errors.unsupported("")


_NFS: Final = _Nfs()

TYPES: Final[dict[str, SrType]] = {
    "nfs": _NFS,
    "smb": _Smb(),
    "ext": _LocalDisks("thin", "ext"),
    "lvm": _LocalDisks("thick", "lvm"),
    "file": _Path(),
    "lvmoiscsi": _LvmOverIscsi(),
    "lvmohba": _LvmOverAdapter(("fc", "sas")),
    "lvmofcoe": _LvmOverAdapter(("fcoe",)),
    "iscsi": _IscsiLuns(),
    "hba": _AdapterLuns(),
    "rawhba": _AdapterLuns(),
    "iso": _Iso(),
    "udev": _Udev(),
    "dummy": _Dummy(),
    "shm": _Shm(),
}
"""SR types by name."""
