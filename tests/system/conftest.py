"""Fixtures of the system tests: labs, see lab.py."""

from tests.system.lab import _plain_lab, _xen_lab, _xen_pair, plain_lab, xen_lab, xen_pair

__all__ = ["_plain_lab", "_xen_lab", "_xen_pair", "plain_lab", "xen_lab", "xen_pair"]
