"""Storage at start: driver records, the SRs of a fresh host, plugging what there is."""
