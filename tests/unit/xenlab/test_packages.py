"""Where the lab's Debian comes from."""

import pytest

from tests.xenlab import packages


def test_the_machines_own_mirrors_are_used_for_the_same_release() -> None:
    targets = (
        "http://mirror.test/debian bookworm main\n"
        "http://mirror.test/debian bookworm contrib\n"
        "http://mirror.test/debian bookworm main\n"
        "http://mirror.test/security bookworm-security main\n"
        "http://other.test/ trixie main\n"
        "\n"
    )
    assert packages.sources_in(targets) == [
        "deb http://mirror.test/debian bookworm main",
        "deb http://mirror.test/security bookworm-security main",
    ]


def test_a_machine_of_another_release_names_none() -> None:
    assert packages.sources_in("http://mirror.test/debian trixie main\n") == []


def test_mirrors_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENLAB_MIRROR", "http://near.test/debian")
    monkeypatch.delenv("XENLAB_SECURITY_MIRROR", raising=False)
    assert packages.sources() == [
        "deb http://near.test/debian bookworm main",
        "deb http://near.test/debian bookworm-updates main",
    ]
