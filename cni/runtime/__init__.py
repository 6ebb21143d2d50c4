"""The runtime's side of the SPEC: lists of plugins, the cache of results, the five verbs.

What containerd and podman do through libcni is done here, over the same files.
"""
