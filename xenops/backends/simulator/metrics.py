"""Moving figures of simulated domains: functions of their identity and the time.

Counters are integrals of rates that swing around a mean, so they only grow and
two readers at the same time see the same.
"""

import math
import zlib

from xenops.backends.simulator.domain import Domain

DAY_S = 86_400.0


def unit(*parts: object) -> float:
    """Give a number in 0..1 that depends on ``parts`` only."""
    return zlib.crc32("/".join(map(str, parts)).encode()) / 0xFFFFFFFF


def rate(mean: float, swing: float, period_s: float, phase: float, t: float) -> float:
    """Give the rate at ``t``; never negative while ``swing`` <= ``mean``."""
    return mean + swing * math.sin(2 * math.pi * (t / period_s + phase))


def integral(mean: float, swing: float, period_s: float, phase: float, t: float) -> float:
    """Give the integral of ``rate`` from 0 to ``t``."""
    w = 2 * math.pi / period_s
    p = 2 * math.pi * phase
    return mean * t + swing / w * (math.cos(p) - math.cos(w * t + p))


def counter(mean: float, t: float, *identity: object) -> float:
    """Give a counter with a mean rate that is the identity's own."""
    own = mean * (0.2 + 1.6 * unit(*identity))
    return integral(own, own * 0.8, 120 + 600 * unit("period", *identity), unit(*identity), t)


def domain_figures(domain: Domain, now: float) -> dict[str, object]:
    """Give the figures of a running domain.

    ``cpu`` is seconds each vCPU has run, traffic is bytes, both since the
    guest booted; memory is bytes, ``memory_internal_free_kib`` KiB or None
    without an agent.
    """
    t = max(0.0, now - domain.booted_at) if domain.booted_at else 0.0
    vm = domain.vm
    free = 0.25 + 0.2 * math.sin(2 * math.pi * (t / 900 + unit(vm)))
    return {
        "domid": domain.domid,
        "cpu": [counter(0.15, t, vm, "cpu", i) for i in range(domain.vcpus)],
        "memory_actual": domain.memory,
        "memory_target": domain.memory,
        "memory_internal_free_kib": int(domain.memory * free) // 1024 if domain.agent else None,
        "vifs": {device: _vif(vm, device, t) for device in domain.vifs},
        "vbds": {device: _vbd(vm, device, t) for device in domain.vbds},
    }


def _vif(vm: str, device: str, t: float) -> dict[str, int]:
    return {
        "rx": int(counter(30_000, t, vm, "rx", device)),
        "tx": int(counter(12_000, t, vm, "tx", device)),
        "rx_errors": 0,
        "tx_errors": 0,
    }


def _vbd(vm: str, device: str, t: float) -> dict[str, int]:
    read = int(counter(200_000, t, vm, "read", device))
    write = int(counter(90_000, t, vm, "write", device))
    return {
        "read": read,
        "write": write,
        "read_ops": read // 16_384,
        "write_ops": write // 8_192,
        "read_time_us": read // 100,
        "write_time_us": write // 60,
        "inflight": 0,
    }


def host_figures(domains: list[Domain], pcpus: int, now: float) -> dict[str, object]:
    """Give the busy seconds of each processor since the epoch day, and counts."""
    t = now % DAY_S + DAY_S
    running = [d for d in domains if not d.paused and d.shutdown is None]
    vcpus = sum(d.vcpus for d in running)
    share = min(0.9, 0.05 + 0.15 * vcpus / pcpus)
    return {
        "cpus": [integral(share, share * 0.1, 300, unit("pcpu", i), t) for i in range(pcpus)],
        "loadavg": rate(0.2, 0.15, 600, 0.0, t),
        "running_vcpus": vcpus,
        "running_domains": len(running) + 1,
    }
