"""What runs inside simulated domains: booting, the agent, answers to requests."""

from fnmatch import fnmatchcase

from xapi_py.base.reactor import Timer
from xenops.backends.contract import Change, GuestAction, GuestRequest, ShutdownReason
from xenops.backends.simulator.config import GuestConfig
from xenops.backends.simulator.domain import Domain
from xenops.backends.simulator.faults import Faults
from xenops.backends.simulator.hypervisor import Hypervisor

REASONS: dict[str, ShutdownReason] = {
    "poweroff": ShutdownReason.POWEROFF,
    "halt": ShutdownReason.POWEROFF,
    "reboot": ShutdownReason.REBOOT,
    "suspend": ShutdownReason.SUSPEND,
    "crash": ShutdownReason.CRASH,
    "watchdog": ShutdownReason.WATCHDOG,
}

PLATFORM_KEYS = {
    "control/platform-feature-multiprocessor-suspend": "1",
    "control/platform-feature-xs_reset_watches": "1",
    "control/has-vendor-device": "0",
}

AGENT_KEYS = {
    "attr/PVAddons/Installed": "1",
    "attr/PVAddons/MajorVersion": "7",
    "attr/PVAddons/MinorVersion": "1",
    "attr/PVAddons/MicroVersion": "0",
    "attr/PVAddons/BuildVersion": "1305",
    "control/feature-balloon": "1",
    "control/feature-poweroff": "1",
    "control/feature-reboot": "1",
    "control/feature-shutdown": "1",
    "control/feature-suspend": "1",
    "control/feature-vcpu-hotplug": "1",
    "data/os_distro": "debian",
    "data/os_majorver": "12",
    "data/os_minorver": "5",
    "data/os_name": "Debian GNU/Linux 12 (bookworm)",
    "data/os_uname": "6.1.0-18-amd64",
    "data/updated": "1",
    "feature/hotplug/vbd": "1",
    "feature/hotplug/vif": "1",
}


class Guests:
    """Give every running domain a life of its own, driven by the clock."""

    def __init__(self, machine: Hypervisor, faults: Faults) -> None:
        self._machine = machine
        self._clock = machine.clock
        self._faults = faults
        self._section = machine.settings.section
        self._boots: dict[int, Timer] = {}
        for domain in machine.domains.values():
            self.runs(domain)

    def config(self, domain: Domain) -> GuestConfig:
        """Give how the guest of a domain behaves."""
        for pattern, config in self._section.guests.items():
            if fnmatchcase(domain.name, pattern) or domain.vm == pattern:
                return config
        return self._section.guest

    def has_agent(self, domain: Domain) -> bool:
        """Whether the guest has PV drivers and an agent installed."""
        return not self._machine.settings.bare and self.config(domain).agent

    def runs(self, domain: Domain) -> None:
        """Note that a domain may run: it boots, or goes on booting."""
        if domain.paused or domain.shutdown is not None or not domain.built:
            return
        if domain.booted_at == 0:
            domain.booted_at = self._clock.seconds()
        if not domain.agent and domain.domid not in self._boots and self.has_agent(domain):
            left = domain.booted_at + self.config(domain).boot_delay_s - self._clock.seconds()
            timer = self._clock.callLater(max(0.0, left), self._booted, domain)
            self._boots[domain.domid] = timer

    def gone(self, domain: Domain) -> None:
        """Note that a domain runs no more."""
        timer = self._boots.pop(domain.domid, None)
        if timer is not None and timer.active():
            timer.cancel()

    def stop(self) -> None:
        """Leave all guests alone."""
        for timer in self._boots.values():
            if timer.active():
                timer.cancel()
        self._boots.clear()

    def _booted(self, domain: Domain) -> None:
        self._boots.pop(domain.domid, None)
        if domain.paused or domain.shutdown is not None:
            return
        domain.agent = True
        self._machine.changed(domain)
        self._machine.announce(Change("vm", domain.vm))
        if domain.memory_dynamic_min != domain.memory_dynamic_max:
            self._machine.balance()

    def keys(self, domain: Domain) -> dict[str, str]:
        """Give the guest's part of the domain's tree, as its agent left it."""
        if not domain.agent:
            return dict(PLATFORM_KEYS)
        keys = PLATFORM_KEYS | AGENT_KEYS
        for device, vif in domain.vifs.items():
            if not vif.carrier:
                continue
            octets = [int(part, 16) for part in vif.mac.split(":")]
            tail = ".".join(str(octet) for octet in octets[3:])
            keys[f"attr/vif/{device}/ipv4/0"] = f"10.{tail}"
            keys[f"attr/vif/{device}/ipv6/0"] = link_local(octets)
        keys["data/meminfo_total"] = str(domain.memory // 1024)
        for key, value in self.config(domain).agent_keys.items():
            if value:
                keys[key] = value
            else:
                keys.pop(key, None)
        return keys

    async def request(self, domain: Domain, request: GuestRequest, ack_timeout_s: float) -> bool:
        """Ask the guest to stop; whether it took notice in time."""
        reason = REASONS[request]
        if domain.hvm and not domain.agent:
            self._machine.stop_domain(domain, reason)
            return True
        config = self.config(domain)
        deaf = config.ignores_shutdown or self._misdeed(domain, "ignores_shutdown")
        wait = ack_timeout_s if deaf else min(config.ack_delay_s, ack_timeout_s)
        if wait > 0:
            gone = await self._machine.wait_for(
                domain.domid, lambda d: d.shutdown is not None, wait
            )
            if gone:
                return True
        if deaf or config.ack_delay_s > ack_timeout_s:
            return False
        if config.hangs_at_shutdown or self._misdeed(domain, "hangs_at_shutdown"):
            return True
        if config.shutdown_delay_s > 0:
            self._clock.callLater(config.shutdown_delay_s, self._down, domain, reason)
        else:
            self._down(domain, reason)
        return True

    def _misdeed(self, domain: Domain, misdeed: str) -> bool:
        return self._faults.guest(domain.vm, domain.name, misdeed)

    def _down(self, domain: Domain, reason: ShutdownReason) -> None:
        if self._machine.domains.get(domain.domid) is domain:
            self._machine.stop_domain(domain, reason)

    def act(self, domain: Domain, action: GuestAction) -> None:
        """Let the guest do something by itself."""
        self._machine.stop_domain(domain, REASONS[action])


def link_local(mac: list[int]) -> str:
    """Give the IPv6 link-local address a guest makes of its MAC."""
    a, b, c, d, e, f = mac
    return f"fe80::{a ^ 2:02x}{b:02x}:{c:02x}ff:fe{d:02x}:{e:02x}{f:02x}"
