"""Programs in place of plugins: they write down what they are told, and say what they must."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni.runtime.conflist import ConfList, from_text

PROGRAM = """#!/bin/sh
cd {home} || exit 70
call=$(ls calls | wc -l)
mkdir "calls/$call"
cat > "calls/$call/stdin"
env > "calls/$call/env"
basename "$0" > "calls/$call/program"
said=says/$(basename "$0").$CNI_COMMAND
test -e "$said" || exit 0
cat "$said"
test ! -e "$said.fails"
"""
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod"}],
    "ips": [{"interface": 0, "address": "10.1.2.3/24", "gateway": "10.1.2.1"}],
}
PORT = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]


def network(cni_version: str = "1.0.0", **keys: Any) -> ConfList:
    """Return the list `net` of the plugins first and second."""
    plugins = [{"type": "first", "mtu": 1400}, {"type": "second"}]
    values = {"cniVersion": cni_version, "name": "net", "plugins": plugins, **keys}
    return from_text(json.dumps(values).encode())


@dataclass(frozen=True)
class Call:
    """One run of a program: its name, the environment and the configuration that it got."""

    program: str
    env: dict[str, str]
    stdin: Any

    @property
    def verb(self) -> str:
        return self.env["CNI_COMMAND"]


class Doubles:
    """A directory of programs, for CNI_PATH."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin_dir = home, home / "bin"
        for name in ("bin", "calls", "says"):
            (home / name).mkdir(parents=True)

    def program(self, name: str, add: Any = RESULT) -> None:
        """Install a program that succeeds, and says `add` on ADD."""
        program = self.bin_dir / name
        program.write_text(PROGRAM.format(home=shlex.quote(str(self.home))))
        program.chmod(0o755)
        self.says(name, "ADD", json.dumps(add))

    def says(self, name: str, verb: str, text: str) -> None:
        """Let a program print `text` and succeed."""
        said = self.home / "says" / f"{name}.{verb}"
        said.write_text(text)
        said.with_name(f"{said.name}.fails").unlink(missing_ok=True)

    def fails(
        self, name: str, verb: str, code: int = 11, msg: str = "no", details: str = ""
    ) -> None:
        """Let a program refuse."""
        self.says(name, verb, json.dumps({"code": code, "msg": msg, "details": details}))
        (self.home / "says" / f"{name}.{verb}.fails").touch()

    @property
    def calls(self) -> list[Call]:
        """Return what was called, in that order."""
        found = []
        for call in sorted((self.home / "calls").iterdir(), key=lambda path: int(path.name)):
            lines = (call / "env").read_text().splitlines()
            env = dict(line.split("=", 1) for line in lines if line.startswith("CNI_"))
            stdin = json.loads((call / "stdin").read_text())
            found.append(Call((call / "program").read_text().strip(), env, stdin))
        return found

    @property
    def order(self) -> list[tuple[str, str]]:
        """Return (verb, program) of each call."""
        return [(call.verb, call.program) for call in self.calls]
