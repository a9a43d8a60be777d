"""The mirroring half of the drivers whose work a child process does: ``sm.contract.Mirrors``."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sm.contract import Vdi, VdiSpec


class MirrorCalls(ABC):
    """Hands the calls to the worker."""

    @abstractmethod
    async def _call(self, method: str, /, **params: object) -> Any: ...

    @abstractmethod
    async def _let_go(self, *vdis: str) -> None: ...

    @abstractmethod
    def _watch(self) -> None:
        """A disk that may grow is in use from now on."""

    async def mirror_receive(self, spec: VdiSpec) -> Mapping[str, str]:
        found: Mapping[str, str] = await self._call("mirror_receive", spec=asdict(spec))
        return found

    async def mirror_begin(self, vdi: str, image: Mapping[str, str]) -> None:
        await self._let_go(vdi)
        await self._call("mirror_begin", vdi=vdi, image=image)

    async def mirror_state(self, vdi: str) -> tuple[str, float]:
        state, done = await self._call("mirror_state", vdi=vdi)
        return str(state), float(done)

    async def mirror_switch(self, vdi: str) -> Mapping[str, str]:
        found: Mapping[str, str] = await self._call("mirror_switch", vdi=vdi)
        return found

    async def mirror_adopt(self, vdi: str, backend: Mapping[str, str], writable: bool) -> Vdi:
        made = await self._call("mirror_adopt", vdi=vdi, backend=backend, writable=writable)
        self._watch()
        return Vdi(**made)

    async def mirror_release(self, vdi: str) -> None:
        await self._call("mirror_release", vdi=vdi)

    async def mirror_cancel(self, vdi: str) -> None:
        await self._call("mirror_cancel", vdi=vdi)

    async def mirror_give_up(self, vdi: str) -> None:
        await self._call("mirror_give_up", vdi=vdi)

    async def mirror_image(self, vdi: str) -> str:
        return str(await self._call("mirror_image", vdi=vdi))

    async def mirror_switched(self, vdi: str, path: str) -> Mapping[str, str] | None:
        found: Mapping[str, str] | None = await self._call("mirror_switched", vdi=vdi, path=path)
        return found
