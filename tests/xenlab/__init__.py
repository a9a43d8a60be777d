"""Machines for tests that no simulation can replace: Xen with a Debian control domain, or Debian alone.

They run in QEMU.  How to use them: doc/xenlab.md.
"""
