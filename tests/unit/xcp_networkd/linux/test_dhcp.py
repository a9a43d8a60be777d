from pathlib import Path

import pytest

from xcp_networkd.linux.dhcp import DhcpClients, configuration
from xcp_networkd.linux.host import LinuxHost


@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.parametrize("dns", [True, False])
def test_only_the_interface_with_the_role_asks_for_it(gateway: bool, dns: bool) -> None:
    text = configuration(gateway=gateway, dns=dns)
    assert ("routers" in text, "domain-name-servers" in text) == (gateway, dns)


def test_process_that_took_over_the_number_is_no_client(tmp_path: Path) -> None:
    clients = DhcpClients(LinuxHost(tmp_path, tmp_path / "resolv.conf"))
    (tmp_path / "dhcp").mkdir()
    (tmp_path / "dhcp/xenbr0.4.pid").write_text("1")
    assert not clients.running("xenbr0", 4)
    clients.stop("xenbr0", 4)
    assert not (tmp_path / "dhcp/xenbr0.4.pid").exists()
