"""Leases of addresses: ranges, the order of giving out, and the directory on disk."""
