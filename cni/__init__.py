"""pycni: a minimal and complete CNI plugin suite."""

__version__ = "0.1.0"
