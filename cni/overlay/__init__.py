"""Routes to the pods of the other nodes: through a VXLAN device, or direct.

settings -> plan (pure) -> apply, which compares with the kernel and changes what differs.
"""
