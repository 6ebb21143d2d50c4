"""Limits of common instance types, for when EC2 cannot be asked.

Source: answers of DescribeInstanceTypes as moto 5.2.5 (October 2026) has them on record; the
p3.2xlarge, which that has no more, as the Amazon VPC CNI has it.  It can be wrong by now:
EC2's own answer comes first.

Each line: ENIs of the default network card, IPv4 addresses of an ENI, IPv6 addresses of an ENI,
virtual processors, hypervisor: types.
"""

TABLE = """
2 2 2 1 xen: t2.micro t2.nano
2 2 2 2 nitro: t3.micro t3.nano t3a.micro t3a.nano t4g.micro t4g.nano
2 4 0 1 xen: m1.small
2 4 4 1 nitro: a1.medium c6g.medium c7a.medium c7g.medium c8g.medium m6g.medium m7a.medium
  m7g.medium m8g.medium r6g.medium r7g.medium r8g.medium
2 4 4 2 nitro: t3a.small
2 50 50 192 nitro: p5.48xlarge
3 4 4 1 xen: t2.small
3 4 4 2 nitro: t3.small t4g.small
3 6 6 2 nitro: t3.medium t3a.medium t4g.medium
3 6 6 2 xen: t2.medium
3 10 10 2 nitro: a1.large c5.large c5n.large c6a.large c6g.large c6i.large c7a.large c7g.large
  c7i.large c8g.large m5.large m5a.large m6a.large m6g.large m6i.large m7a.large m7g.large
  m7i-flex.large m7i.large m8g.large r5.large r6g.large r6i.large r7g.large r7i.large r8g.large
3 10 10 2 xen: c4.large i3.large
3 10 10 4 nitro: g4dn.xlarge
3 12 12 2 nitro: t3.large t3a.large t4g.large
3 12 12 2 xen: t2.large
3 15 15 4 xen: t2.xlarge
3 15 15 8 xen: t2.2xlarge
4 10 10 4 nitro: inf1.xlarge
4 15 15 4 nitro: a1.xlarge c5.xlarge c5n.xlarge c6a.xlarge c6g.xlarge c6i.xlarge c7a.xlarge
  c7g.xlarge c7i.xlarge c8g.xlarge g5.xlarge m5.xlarge m5a.xlarge m6a.xlarge m6g.xlarge m6i.xlarge
  m7a.xlarge m7g.xlarge m7i-flex.xlarge m7i.xlarge m8g.xlarge r5.xlarge r6g.xlarge r6i.xlarge
  r7g.xlarge r7i.xlarge r8g.xlarge t3.xlarge t3a.xlarge t4g.xlarge
4 15 15 8 nitro: a1.2xlarge c5.2xlarge c5n.2xlarge c6a.2xlarge c6g.2xlarge c6i.2xlarge c7a.2xlarge
  c7g.2xlarge c7i.2xlarge c8g.2xlarge m5.2xlarge m5a.2xlarge m6a.2xlarge m6g.2xlarge m6i.2xlarge
  m7a.2xlarge m7g.2xlarge m7i-flex.2xlarge m7i.2xlarge m8g.2xlarge r5.2xlarge r6g.2xlarge
  r6i.2xlarge r7g.2xlarge r7i.2xlarge r8g.2xlarge t3.2xlarge t3a.2xlarge t4g.2xlarge
4 15 15 8 xen: p3.2xlarge
8 30 30 16 metal: a1.metal
8 30 30 16 nitro: a1.4xlarge c5.4xlarge c5n.4xlarge c6a.4xlarge c6g.4xlarge c6i.4xlarge
  c7a.4xlarge c7g.4xlarge c7i.4xlarge c8g.4xlarge m5.4xlarge m5a.4xlarge m6a.4xlarge m6g.4xlarge
  m6i.4xlarge m7a.4xlarge m7g.4xlarge m7i-flex.4xlarge m7i.4xlarge m8g.4xlarge r5.4xlarge
  r6g.4xlarge r6i.4xlarge r7g.4xlarge r7i.4xlarge r8g.4xlarge
8 30 30 16 xen: m4.4xlarge
8 30 30 32 nitro: c6a.8xlarge c6g.8xlarge c6i.8xlarge c7a.8xlarge c7g.8xlarge c7i.8xlarge
  c8g.8xlarge m5.8xlarge m5a.8xlarge m6a.8xlarge m6g.8xlarge m6i.8xlarge m7a.8xlarge m7g.8xlarge
  m7i-flex.8xlarge m7i.8xlarge m8g.8xlarge r5.8xlarge r6g.8xlarge r6i.8xlarge r7g.8xlarge
  r7i.8xlarge r8g.8xlarge
8 30 30 36 nitro: c5.9xlarge c5n.9xlarge
8 30 30 48 nitro: c5.12xlarge c6a.12xlarge c6g.12xlarge c6i.12xlarge c7a.12xlarge c7g.12xlarge
  c7i.12xlarge c8g.12xlarge m5.12xlarge m5a.12xlarge m6a.12xlarge m6g.12xlarge m6i.12xlarge
  m7a.12xlarge m7g.12xlarge m7i-flex.12xlarge m7i.12xlarge m8g.12xlarge r5.12xlarge r6g.12xlarge
  r6i.12xlarge r7g.12xlarge r7i.12xlarge r8g.12xlarge
15 50 50 64 metal: c6g.metal c7g.metal m6g.metal m7g.metal r6g.metal r7g.metal
15 50 50 64 nitro: c6a.16xlarge c6g.16xlarge c6i.16xlarge c7a.16xlarge c7g.16xlarge c7i.16xlarge
  c8g.16xlarge m5.16xlarge m5a.16xlarge m6a.16xlarge m6g.16xlarge m6i.16xlarge m7a.16xlarge
  m7g.16xlarge m7i-flex.16xlarge m7i.16xlarge m8g.16xlarge r5.16xlarge r6g.16xlarge r6i.16xlarge
  r7g.16xlarge r7i.16xlarge r8g.16xlarge
15 50 50 72 metal: c5n.metal
15 50 50 72 nitro: c5.18xlarge c5n.18xlarge
15 50 50 96 metal: c5.metal c7i.metal-24xl c8g.metal-24xl m5.metal m7i.metal-24xl m8g.metal-24xl
  r5.metal r7i.metal-24xl r8g.metal-24xl
15 50 50 96 nitro: c5.24xlarge c6a.24xlarge c6i.24xlarge c7a.24xlarge c7i.24xlarge c8g.24xlarge
  m5.24xlarge m5a.24xlarge m6a.24xlarge m6i.24xlarge m7a.24xlarge m7i.24xlarge m8g.24xlarge
  p3dn.24xlarge p4d.24xlarge r5.24xlarge r6i.24xlarge r7i.24xlarge r8g.24xlarge
15 50 50 128 metal: c6i.metal m6i.metal r6i.metal
15 50 50 128 nitro: c6a.32xlarge c6i.32xlarge c7a.32xlarge m6a.32xlarge m6i.32xlarge m7a.32xlarge
  r6i.32xlarge
15 50 50 192 metal: c6a.metal c7a.metal-48xl c7i.metal-48xl c8g.metal-48xl m6a.metal
  m7a.metal-48xl m7i.metal-48xl m8g.metal-48xl r7i.metal-48xl r8g.metal-48xl
15 50 50 192 nitro: c6a.48xlarge c7a.48xlarge c7i.48xlarge c8g.48xlarge m6a.48xlarge m7a.48xlarge
  m7i.48xlarge m8g.48xlarge r7i.48xlarge r8g.48xlarge
"""
