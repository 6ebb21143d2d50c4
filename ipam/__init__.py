"""IPAM programs, one file a type."""
