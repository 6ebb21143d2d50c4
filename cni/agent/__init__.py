"""The node agent, `pycnid`: a small supervisor and its roles."""

from collections.abc import Callable


def main(program: Callable[[], int]) -> int:
    """Run the agent as the command line says; `program` is what its workers run."""
    from cni.agent import start

    return start.main(program)
