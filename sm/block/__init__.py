"""Block devices of other machines: SCSI, iSCSI, host bus adapters, multipath."""

__all__: list[str] = []
