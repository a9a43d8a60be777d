"""No error of the network's messages goes without a test that names it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
SOURCES = (
    "api/pif api/bond api/vlan.py api/tunnel.py api/network.py api/network_sriov.py "
    "api/network_errors.py api/host_network.py api/internal_networks.py api/vif.py "
    "api/host/management.py api/pool/vswitch.py api/sdn_controller.py api/cluster.py "
    "plan/bond.py plan/joining_networks.py plan/sriov.py"
)


def errors() -> list[str]:
    """Every error code those sources mention."""
    found: set[str] = set()
    for name in SOURCES.split():
        path = ROOT / "xapi_py" / name
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            found |= set(re.findall(r"\berr\.([A-Z][A-Z0-9_]+)", file.read_text()))
    return sorted(found)


@pytest.fixture(scope="module")
def tests() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("code", errors())
def test_error_has_a_test(tests: str, code: str) -> None:
    assert f'"{code}"' in tests
