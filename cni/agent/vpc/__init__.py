"""The role vpc: a process of its own, since what it loads, the AWS SDK, is large."""

PATH = "/run/pycni/vpc.json"  # what it says of itself, for cnictl
