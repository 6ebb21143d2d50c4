"""Pods with addresses of a VPC: what programs ask of the node agent, what both make in the kernel.

client.py, released.py   the agent's socket, and what is left for it while it is away
pods.py                  a pod's rules and routes on the host
policy.py                the agent's settings for how pods leave the VPC
plan.py, host.py         the node's own: interfaces of the VPC, their tables, SNAT, marks
"""
