"""What a pool of one host answers about hosts that are not there."""

import pytest

from tests.unit.api.server import Server

NOBODY = "OpaqueRef:00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    return server.login()


@pytest.mark.parametrize(
    ("message", "arguments", "error"),
    [
        ("pool.eject", (NOBODY,), ["HOST_OFFLINE", NOBODY]),
        ("pool.designate_new_master", (NOBODY,), ["HANDLE_INVALID", "host", NOBODY]),
        ("pool.disable_ha", (), ["HA_NOT_ENABLED"]),
        ("pool.enable_ha", ([], {}), ["CANNOT_CREATE_STATE_FILE"]),
        ("host.emergency_ha_disable", (), ["HA_NOT_ENABLED"]),
        ("pool.deconfigure_wlb", (), ["WLB_NOT_INITIALIZED"]),
        ("pool.retrieve_wlb_configuration", (), ["WLB_NOT_INITIALIZED"]),
        ("pool.retrieve_wlb_recommendations", (), ["WLB_NOT_INITIALIZED"]),
        ("pool.initialize_wlb", ("u", "a", "b", "c", "d"), ["WLB_URL_INVALID", "u"]),
        (
            "pool.set_vswitch_controller",
            ("1.2.3.4",),
            ["OPERATION_NOT_ALLOWED", "host not configured for vswitch operation"],
        ),
        (
            "pool.enable_redo_log",
            (NOBODY,),
            [
                "CANNOT_ENABLE_REDO_LOG",
                "failed to create a VDI for the redo log on the SR with the given UUID.",
            ],
        ),
        ("host.list_methods", (), ["NOT_IMPLEMENTED", "list_method"]),
        ("Diagnostics.gc_stats", (NOBODY,), ["HOST_OFFLINE", NOBODY]),
        ("pool_patch.apply", (NOBODY, NOBODY), ["HOST_OFFLINE", NOBODY]),
        ("pool_update.introduce", (NOBODY,), ["HANDLE_INVALID", "VDI", NOBODY]),
        ("Repository.introduce", ("n", "d", "bad url", "", False), ["INVALID_BASE_URL", "bad url"]),
        (
            "Repository.introduce",
            ("n", "d", "https://a/x", "https://a/y", True, "k.gpg"),
            ["INVALID_GPGKEY_PATH", "k.gpg"],
        ),
        ("PVS_site.introduce", ("n", "d", "u"), ["OPENVSWITCH_NOT_ACTIVE"]),
        ("PVS_cache_storage.create", ({},), ["INVALID_VALUE", "host", "OpaqueRef:NULL"]),
        ("Rate_limit.create", ({},), ["INVALID_VALUE", "fill_rate", "0."]),
        (
            "Caller.create",
            ({},),
            [
                "INVALID_VALUE",
                "user_agent/client_ip",
                "at least one of user_agent or client_ip must be set",
            ],
        ),
        ("pool.join", ("h", "u", "p"), ["NOT_IMPLEMENTED", "pool.join"]),
    ],
)
def test_refusal(
    server: Server, session: str, message: str, arguments: tuple, error: list[str]
) -> None:
    assert server.refusal(message, session, *arguments) == error


def test_licence_without_high_availability_refuses_it(tmp_path_factory) -> None:
    server = Server(tmp_path_factory.mktemp("licence"))
    session = server.login()
    server.put("pool", server.this_pool, restrictions={"enable_xha": "false"})
    answer = server.refusal("pool.enable_ha", session, [], {})
    assert answer == ["LICENCE_RESTRICTION", "HA"]


def test_master_stays_master(server: Server, session: str) -> None:
    server.call("pool.designate_new_master", session, server.this_host)
    assert server.call("pool.recover_slaves", session) == []
    assert server.call("pool.is_slave", session, server.this_host) is False
    assert server.refusal("pool.eject", session, server.this_host)[0] == "INTERNAL_ERROR"


def test_unknown_host_that_greets_is_told_so(server: Server, session: str) -> None:
    assert server.call("pool.hello", session, "u", "1.2.3.4") == "unknown_host"


def test_one_host_may_fail_while_nothing_is_protected(server: Server, session: str) -> None:
    assert server.call("pool.ha_compute_max_host_failures_to_tolerate", session) == "1"
    vm = server.make("VM", name_label="v")
    hypothetical = "pool.ha_compute_hypothetical_max_host_failures_to_tolerate"
    assert server.call(hypothetical, session, {vm: "restart"}) == "0"
    assert server.call(hypothetical, session, {vm: "best-effort"}) == "1"
    plan = server.call("pool.ha_compute_vm_failover_plan", session, [server.this_host], [vm])
    assert plan == {vm: {"error_code": "HOST_NOT_ENOUGH_FREE_MEMORY"}}


def test_any_edition_is_taken(server: Server, session: str) -> None:
    server.call("host.apply_edition", session, server.this_host, "standard-per-socket", False)
    state = server.call("pool.get_license_state", session, server.this_pool)
    assert state == {"edition": "standard-per-socket", "expiry": "20991231T23:59:59Z"}


def test_repository_in_use_is_kept(server: Server, session: str) -> None:
    repository = server.call("Repository.introduce", session, "n", "d", "https://a/x", "", True)
    again = server.refusal("Repository.introduce", session, "n", "d", "https://b/x", "", True)
    assert again == ["REPOSITORY_ALREADY_EXISTS", repository]
    server.call("pool.add_repository", session, server.this_pool, repository)
    assert server.refusal("Repository.forget", session, repository) == ["REPOSITORY_IS_IN_USE"]
    server.call("pool.remove_repository", session, server.this_pool, repository)
    server.call("Repository.forget", session, repository)


def test_blob_is_held_under_its_name(server: Server, session: str) -> None:
    blob = server.call("pool.create_new_blob", session, server.this_pool, "b", "text/plain", True)
    assert server.call("pool.get_blobs", session, server.this_pool) == {"b": blob}
    again = server.refusal("pool.create_new_blob", session, server.this_pool, "b", "", False)
    assert again == ["MAP_DUPLICATE_KEY", "pool", "blobs", server.this_pool, "b"]
