"""The calls about changed blocks that all drivers have, and carry out in one way."""

from abc import ABC, abstractmethod

from sm.contract import Vdi


class TrackingCalls(ABC):
    """Three calls of ``sm.contract.AttachedSr``."""

    @abstractmethod
    async def _tracked(self, command: str, vdi: str) -> Vdi:
        """Carry one out: "enable_cbt", "disable_cbt" or "data_destroy".

        Errors: SR_OPERATION_NOT_SUPPORTED without VDI_CONFIG_CBT.
        """

    async def vdi_enable_cbt(self, vdi: str) -> Vdi:
        return await self._tracked("enable_cbt", vdi)

    async def vdi_disable_cbt(self, vdi: str) -> Vdi:
        return await self._tracked("disable_cbt", vdi)

    async def vdi_data_destroy(self, vdi: str) -> Vdi:
        return await self._tracked("data_destroy", vdi)
