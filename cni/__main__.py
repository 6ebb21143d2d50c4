"""Start the program that this process was called as.

One executable stands under the name of every program, so the name decides.
Nothing is imported here but the table of programs: each program pays for what it uses.
"""

import sys

from cni.programs import COMMANDS, NAMES, PROGRAMS

USAGE = """\
{name!r} is not a program of this suite; call it as one of:
{programs}
"""


def program_name(argv: list[str]) -> str:
    """Return the name to act as, and take it out of `argv` after `python -m cni NAME`.

    A link with a name of its own acts as the program it points to.
    """
    name = _basename(argv[0])
    if name == "__main__.py":
        name = argv.pop(1) if len(argv) > 1 else ""
        argv[0] = name
    real = _basename(sys.executable)
    return real if name not in NAMES and real in NAMES else name


def main() -> int:
    """Run the program by the name in `sys.argv[0]`; return its exit status."""
    name = program_name(sys.argv)
    if name in PROGRAMS:
        from cni import skel

        return skel.main(name)
    if name == "cnictl":
        from cni import cnictl

        return cnictl.main()
    if name == "pycnid":
        from cni import agent

        return agent.main(main)
    programs = "".join(f"  {known:<12}{about.summary}\n" for known, about in PROGRAMS.items())
    programs += "".join(f"  {command:<12}{summary}\n" for command, summary in COMMANDS.items())
    sys.stderr.write(USAGE.format(name=name, programs=programs))
    return 1


def _basename(path: str) -> str:
    return path.rpartition("/")[2]


if __name__ == "__main__":
    sys.exit(main())
