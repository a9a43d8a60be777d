import pytest

from tests.unit.api.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    return server.login()


@pytest.fixture
def kinds(server: Server) -> tuple[str, str]:
    return server.make("VGPU_type", model_name="a"), server.make("VGPU_type", model_name="b")


@pytest.fixture
def card(server: Server, kinds: tuple[str, str]) -> str:
    pci = server.make("PCI", host=server.this_host, vendor_id="10de", device_id="1b38")
    return server.make(
        "PGPU",
        host=server.this_host,
        PCI=pci,
        GPU_group=server.make("GPU_group"),
        supported_VGPU_types=kinds,
        enabled_VGPU_types=kinds[:1],
        supported_VGPU_max_capacities={kinds[0]: 4, kinds[1]: 1},
    )


def test_type_must_be_supported(server: Server, session: str, card: str) -> None:
    other = server.make("VGPU_type", model_name="c")
    answer = server.refusal("PGPU.add_enabled_VGPU_types", session, card, other)
    assert answer[:2] == ["VGPU_TYPE_NOT_SUPPORTED", other]


def test_group_offers_what_its_cards_do(
    server: Server, session: str, card: str, kinds: tuple[str, str]
) -> None:
    server.call("PGPU.set_enabled_VGPU_types", session, card, list(kinds))
    group = server.db.row("PGPU", card).GPU_group
    assert set(server.db.row("GPU_group", group).enabled_VGPU_types) == set(kinds)


def test_capacity_is_of_one_type_at_a_time(
    server: Server, session: str, card: str, kinds: tuple[str, str]
) -> None:
    server.call("PGPU.set_enabled_VGPU_types", session, card, list(kinds))
    vm = server.make("VM", name_label="v")
    server.make("VGPU", VM=vm, type=kinds[0], resident_on=card)
    remaining = [server.call("PGPU.get_remaining_capacity", session, card, kind) for kind in kinds]
    assert remaining == ["3", "0"]
    answer = server.refusal("PGPU.set_enabled_VGPU_types", session, card, [kinds[1]])
    assert answer == ["PGPU_IN_USE_BY_VM", vm]


def test_group_with_a_card_is_kept(server: Server, session: str, card: str) -> None:
    group = server.db.row("PGPU", card).GPU_group
    assert server.refusal("GPU_group.destroy", session, group) == ["GPU_GROUP_CONTAINS_PGPU", card]


def test_card_moves_to_an_empty_group(server: Server, session: str, card: str) -> None:
    group = server.call("GPU_group.create", session, "g", "d", {})
    server.call("PGPU.set_GPU_group", session, card, group)
    assert server.db.row("GPU_group", group).GPU_types == ("10de/1b38",)
    other = server.make("GPU_group", GPU_types=("8086/1",))
    answer = server.refusal("PGPU.set_GPU_group", session, card, other)
    assert answer == ["PGPU_NOT_COMPATIBLE_WITH_GPU_GROUP", "10de/1b38", "8086/1"]
