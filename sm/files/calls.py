"""The calls a worker answers: methods by name, with and for plain values."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final

from sm import errors
from sm.contract import VdiSpec
from sm.files.blanks import BlankImages
from sm.files.collect import Collector
from sm.files.content import ContentOf
from sm.files.kinds import Host, Kind
from sm.files.library import Library
from sm.files.mirror import MirrorSource, MirrorTarget, drop_partial
from sm.files.sr import FileSr
from sm.files.transfers import Transfers
from sm.kinds import KINDS
from xapi_py.base.rpc.errors import RpcError

Call = Callable[..., Any]

_SR_CALLS: Final = (
    *("stat", "set_name", "scan", "destroy"),
    *("vdi_stat", "vdi_introduce", "vdi_destroy", "vdi_revert", "vdi_resize", "vdi_set"),
    *("vdi_enable_cbt", "vdi_disable_cbt", "vdi_data_destroy", "vdi_list_changed_blocks"),
    *("vdi_epoch_begin", "vdi_compose"),
)

_CHANGES: Final = frozenset(
    ["vdi_create", "begin_create", "vdi_snapshot", "vdi_clone", "vdi_destroy", "vdi_revert"]
    + ["vdi_set", "vdi_enable_cbt", "vdi_disable_cbt", "vdi_data_destroy", "vdi_epoch_begin"]
    + ["vdi_resize", "vdi_compose", "begin_fill", "gc_start", "set_name", "destroy"]
    + ["mirror_receive", "mirror_adopt", "mirror_give_up"]
)
"""Calls for the host that is in charge of the SR."""


class Worker:
    """One SR type on this host; holds at most one SR."""

    def __init__(
        self,
        sr_type: str,
        host: Host,
        notify: Callable[..., object],
        hook: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._kind: Kind = KINDS[sr_type](sr_type, host)
        self._notify = notify
        self._hook = hook
        self._sr: FileSr | Library | None = None
        self._attached: tuple[str, Mapping[str, str]] = ("", {})
        self._calls: dict[str, Call] = {
            "create": self._create,
            "attach": self._attach,
            "probe": self._probe,
            "detach": self._detach,
        }

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Answer a call with plain values.  Errors: RpcError."""
        found = self._calls.get(method)
        if found is None:
            raise errors.unsupported(self._attached[0])
        if method in _CHANGES and isinstance(self._sr, FileSr):
            self._sr.take_charge()
        try:
            result = _plain(found(**params))
        except Exception:
            self._tidy()
            raise
        self._tidy()
        return result

    def _tidy(self) -> None:
        if isinstance(self._sr, FileSr):
            self._sr.images.tidy()

    def _create(
        self,
        sr: str,
        device_config: Mapping[str, str],
        sm_config: Mapping[str, str],
        name_label: str,
        name_description: str,
    ) -> Mapping[str, str]:
        names = (name_label, name_description)
        more = self._kind.create(sr, device_config, sm_config, names)
        return {**(more or {}), **sm_config}

    def _probe(self, device_config: Mapping[str, str], sm_config: Mapping[str, str]) -> str:
        return self._kind.probe(device_config, sm_config)

    def _attach(self, sr: str, device_config: Mapping[str, str]) -> Mapping[str, object]:
        found = self._kind.attach(sr, device_config, self._notify, self._hook)
        self._sr, self._attached = found, (sr, device_config)
        if isinstance(found, FileSr):
            self._offer_files(found)
        else:
            self._offer_library(found)
        return {"grows": isinstance(found, FileSr) and found.images.grows}

    def _detach(self) -> None:
        if self._sr is not None:
            self._sr.detach()
            self._sr = None
            self._kind.close_medium(*self._attached)

    def end(self) -> None:
        """The daemon ended: let go what nobody uses."""
        if isinstance(self._sr, FileSr):
            self._sr.backends.stop_unused_views()

    def _offer_files(self, sr: FileSr) -> None:
        content, collector, transfers = ContentOf(sr), Collector(sr), Transfers(sr)
        blanks = BlankImages(sr)

        def start_collecting() -> None:
            transfers.drop_dead()
            collector.start()

        self._calls |= {name: getattr(sr, name) for name in _SR_CALLS}
        self._calls |= {
            "vdi_create": lambda spec: sr.vdi_create(VdiSpec(**spec)),
            "begin_create": blanks.begin,
            "end_create": blanks.end,
            "vdi_snapshot": lambda vdi, spec: sr.vdi_snapshot(vdi, VdiSpec(**spec)),
            "vdi_clone": lambda vdi, spec: sr.vdi_clone(vdi, VdiSpec(**spec)),
            "release_locks": sr.store.release_locks,
            "vdi_path": content.path,
            "vdi_note_written": content.note_written,
            "vdi_content": content.content,
            "begin_read": content.begin_read,
            "end_read": content.end_read,
            "begin_fill": content.begin_fill,
            "end_fill": content.end_fill,
            "open_data": transfers.open,
            "close_data": transfers.close,
            "close_reader": transfers.close_reader,
            "vdi_holders": transfers.holders,
            "vdi_attach": content.attach,
            "vdi_activate": content.activate,
            "watch": content.watch,
            "vdi_deactivate": content.deactivate,
            **_moving(sr),
            "gc_start": start_collecting,
            "gc_next": collector.next_step,
            "gc_progress": collector.progress,
            "gc_finish": collector.finish,
            "gc_give_up": collector.give_up,
        }

    def _offer_library(self, library: Library) -> None:
        names = "stat set_name scan destroy vdi_stat vdi_introduce vdi_destroy vdi_set"
        self._calls |= {name: getattr(library, name) for name in names.split()}
        self._calls |= {
            "vdi_create": lambda spec: library.vdi_create(VdiSpec(**spec)),
            "vdi_path": lambda vdi, writable: str(library.path_of(vdi)),
            "vdi_note_written": library.note_written,
            "open_data": lambda vdi, mode, base, images: {"path": str(library.path_of(vdi))},
            "close_data": lambda vdi, commit: library.note_written(vdi),
            "close_reader": lambda vdi: None,
            "vdi_holders": lambda vdi: [],
            "vdi_content": lambda vdi, image: {
                "path": str(library.path_of(vdi)),
                "data_bytes": library.disk(vdi).virtual_size,
                "format": "raw",
            },
            "begin_read": library.disk,
            "end_read": lambda vdi: None,
            "vdi_attach": library.attach,
            "vdi_activate": lambda vdi, read_write: None,
            "vdi_deactivate": lambda vdi: None,
            "gc_start": lambda: None,
            "gc_next": lambda: {"skipped": [], "left": 0},
            "release_locks": lambda host_uuid: None,
        }


def _moving(sr: FileSr) -> dict[str, Call]:
    source, target = MirrorSource(sr), MirrorTarget(sr)
    if sr.store.mine:
        with suppress(RpcError):
            drop_partial(sr)
    return {
        "mirror_begin": source.begin,
        "mirror_state": source.state,
        "mirror_switch": source.switch,
        "mirror_release": source.release,
        "mirror_cancel": source.cancel,
        "mirror_switched": source.switched,
        "mirror_receive": target.receive,
        "mirror_adopt": target.adopt,
        "mirror_give_up": target.give_up,
        "mirror_image": target.image,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        if any(is_dataclass(getattr(value, f.name)) for f in fields(value)):
            return asdict(value)
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return value
