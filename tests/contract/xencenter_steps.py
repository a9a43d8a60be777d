"""Steps of XenCenter that several tests take."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.contract.xencenter_client import Client, Connection, JsonRpc, XmlRpc
from tests.contract.xencenter_session import XenCenter
from tests.integration.running_pool import RunningPool


def plain(pool: RunningPool, dialect: XmlRpc | JsonRpc) -> Client:
    """Give a client over plain HTTP."""
    host = pool.host()
    return Client(Connection(host.address, host.http), dialect)


def token(xencenter: XenCenter) -> str:
    """Give a token of now."""
    answer = xencenter.client().call("event.from", xencenter.session, ["*"], "", 0.0)
    last: str = answer["token"]
    return last


def new_network(client: Client, xencenter: XenCenter) -> str:
    mtu: object = "1500" if xencenter.generation.is_xml else 1500
    record = {"name_label": "N", "name_description": "", "MTU": mtu, "other_config": {}}
    ref: str = client.call("network.create", xencenter.session, {**record, "tags": []})
    return ref


def poll(client: Client, session: str, task: str) -> dict[str, Any]:
    """Read the task until it has ended, as actions do; gives its record."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state: dict[str, Any] = client.call("task.get_record", session, task)
        if state["status"] in ("success", "failure", "cancelled"):
            return state
        time.sleep(0.05)
    raise AssertionError(f"the task goes on: {state}")


@contextlib.contextmanager
def followed(xencenter: XenCenter) -> Iterator[tuple[Client, Callable[[str], dict[str, Any]]]]:
    """A client for calls, and a function that gives the next event of an object.

    Events are awaited as the client does it: a loop on a connection of its own.
    """
    poller = xencenter.client()
    last = token(xencenter)

    def next_event(ref: str) -> dict[str, Any]:
        nonlocal last
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            answer = poller.call("event.from", xencenter.session, ["*"], last, 10.0)
            last = answer["token"]
            for event in answer["events"]:
                if event["ref"] == ref:
                    found: dict[str, Any] = event
                    return found
        raise AssertionError(f"no event of {ref}")

    yield xencenter.client(), next_event
