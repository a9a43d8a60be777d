"""Machines for tests that no simulation can replace: Xen with its control domain, or Debian.

They run in QEMU.  How to use them: doc/xenlab.md.
"""
