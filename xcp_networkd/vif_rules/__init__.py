"""What a virtual machine's device may send, as rules of nftables or of Open vSwitch.  Pure."""

__all__: list[str] = []
