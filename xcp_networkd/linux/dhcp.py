"""One DHCP client a device: Debian's ``dhclient`` with our own script.

The client outlives this daemon and sets the address itself, so that a lease is renewed
while the daemon is down; a small script starts it again when it ends.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from xcp_networkd import errors
from xcp_networkd.linux import name_servers
from xcp_networkd.linux.host import LinuxHost

KILL_TIMEOUT_S: Final = 5.0

SCRIPT: Final = """\
#!/bin/sh
# What dhclient calls when something happened to a lease; written by networkd.
family=-4
[ -z "$new_ip6_address$old_ip6_address" ] || family=-6
old="$old_ip_address/${old_subnet_mask:-32}"
new="$new_ip_address/${new_subnet_mask:-32}"
[ $family = -4 ] || old="$old_ip6_address/${old_ip6_prefixlen:-128}"
[ $family = -4 ] || new="$new_ip6_address/${new_ip6_prefixlen:-128}"
case "$reason" in
PREINIT*) ip link set dev "$interface" up ;;
BOUND* | RENEW* | REBIND* | REBOOT*)
    case "$old" in /* | "$new") ;; *) ip $family addr del "$old" dev "$interface" ;; esac
    if [ $family = -4 ]; then
        ip -4 addr replace "$new" broadcast + dev "$interface"
    else
        ip -6 addr replace "$new" dev "$interface"
    fi
    for router in $new_routers; do
        ip -4 route replace default via "$router" dev "$interface" proto dhcp
        break
    done
    servers="$new_domain_name_servers$new_dhcp6_name_servers"
    if [ -n "$servers" ] && [ -n "$RESOLV_CONF" ]; then
        {
            echo "@HEADER@$interface"
            domains="$new_domain_search"
            [ -n "$domains" ] || domains="$new_domain_name"
            [ -z "$domains" ] || echo "search $domains"
            for server in $servers; do echo "nameserver $server"; done
        } >"$RESOLV_CONF.dhclient" && cat "$RESOLV_CONF.dhclient" >"$RESOLV_CONF"
        rm -f "$RESOLV_CONF.dhclient"
    fi
    ;;
EXPIRE* | FAIL* | RELEASE* | STOP*)
    case "$old" in /*) ;; *) ip $family addr del "$old" dev "$interface" ;; esac
    ;;
esac
exit 0
""".replace("@HEADER@", name_servers.HEADER)

KEEPER: Final = """\
#!/bin/sh
# Keeps a client running; written by networkd.  It ends by itself where there is no link-local
# address yet, and must not stay away when it is killed.
while :; do
    "$@"
    sleep 1
done
"""


def configuration(*, gateway: bool, dns: bool) -> str:
    """Give the client's configuration: routers and servers only where they are wanted."""
    asked = ["subnet-mask", "broadcast-address"]
    asked += ["routers"] if gateway else []
    asked += ["domain-name", "domain-name-servers", "domain-search"] if dns else []
    lines = [f"request {', '.join(asked)};"]
    lines += ["also request dhcp6.name-servers;"] if dns else []
    lines += ["timeout 60;", "retry 15;", "initial-interval 1;", "backoff-cutoff 8;"]
    return "\n".join(lines) + "\n"


class DhcpClients:
    """The clients of one host."""

    def __init__(self, host: LinuxHost) -> None:
        self._folder = host.state / "dhcp"
        self._resolv_conf = host.resolv_conf
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def _file(self, interface: str, version: int, suffix: str) -> Path:
        return self._folder / f"{interface}.{version}.{suffix}"

    def running(self, interface: str, version: int) -> bool:
        """Tell whether the device's client is there."""
        return self._process(interface, version) is not None

    def serves(self, interface: str, version: int, *, gateway: bool, dns: bool) -> bool:
        """Tell whether the device's client is there and asks for just that."""
        conf = self._file(interface, version, "conf")
        try:
            same = conf.read_text(encoding="ascii") == configuration(gateway=gateway, dns=dns)
        except OSError:
            same = False
        return same and self.running(interface, version)

    def _process(self, interface: str, version: int) -> int | None:
        try:
            pid = int(self._file(interface, version, "pid").read_text(encoding="ascii"))
            child = self._children.get(pid)
            if child is not None:
                # One that has just begun does not show its command line yet.
                return pid if child.poll() is None else None
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self._file(interface, version, "conf")).encode() in words else None

    def start(self, interface: str, version: int, *, gateway: bool, dns: bool) -> None:
        """Start the device's client, anew if it asks for something else; does not wait."""
        if self.serves(interface, version, gateway=gateway, dns=dns):
            return
        program = shutil.which("dhclient", path=os.environ.get("PATH", "") + ":/sbin:/usr/sbin")
        if program is None:
            raise errors.script_error("dhclient is not installed")
        self.stop(interface, version)
        self._folder.mkdir(parents=True, exist_ok=True)
        script, keeper = self._folder / "script", self._folder / "keeper"
        for file, text in ((script, SCRIPT), (keeper, KEEPER)):
            file.write_text(text, encoding="ascii")
            file.chmod(0o755)
        conf = self._file(interface, version, "conf")
        conf.write_text(configuration(gateway=gateway, dns=dns), encoding="ascii")
        arguments = [
            "/bin/sh",
            str(keeper),
            program,
            f"-{version}",
            "-d",
            "-q",
            "-sf",
            str(script),
            "-cf",
            str(conf),
        ]
        # Its own pid file must not be the shared default; ours is written here, before it runs.
        arguments += ["-pf", str(self._file(interface, version, "own-pid"))]
        arguments += ["-lf", str(self._file(interface, version, "leases"))]
        arguments += ["-e", f"RESOLV_CONF={self._resolv_conf if dns else ''}", interface]
        client = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        pid_file = self._file(interface, version, "pid")
        pid_file.write_text(str(client.pid), encoding="ascii")
        self._children[client.pid] = client

    def stop(self, interface: str, version: int) -> None:
        """End the device's client; its lease stays the server's to give it again."""
        pid = self._process(interface, version)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # the client, too: it is a session of its own
            child = self._children.pop(pid, None)
            if child is not None:
                child.wait(KILL_TIMEOUT_S)
        self._file(interface, version, "pid").unlink(missing_ok=True)
