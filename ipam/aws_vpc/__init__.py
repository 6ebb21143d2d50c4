"""aws-vpc-ipam: addresses of the VPC for pods, from a pool that the node keeps warm.

This far, the pool's arithmetic: settings, limits of instance types, who gets which address, and
what to ask of EC2.  Nothing here asks a cloud or a kernel.
"""
