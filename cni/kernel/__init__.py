"""The kernel's objects, in the words of iproute2.  Only here is pyroute2 imported.

`import pyroute2` loads every protocol it knows, and its sockets an event loop (0.2 s, 36 MB).
We need its message classes and nothing else, so an empty package stands in for the former and
two bare modules for the latter; its submodules are then imported one by one, as they are.
"""

import importlib.util
import sys
import types


def _keep_pyroute2_small() -> None:
    if "pyroute2" in sys.modules:
        return
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.submodule_search_locations is None:
        message = "pyroute2 is not installed"
        raise ImportError(message)
    package = types.ModuleType("pyroute2")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["pyroute2"] = package
    for name, classes in _SOCKETS.items():
        module = types.ModuleType(f"pyroute2.netlink.{name}")
        for one in classes:
            setattr(module, one, type(one, (), {}))
        sys.modules[module.__name__] = module


_SOCKETS = {  # base classes of sockets that stand beside the messages in one file
    "core": ("SyncAPI",),
    "nlsocket": ("AsyncNetlinkSocket", "NetlinkSocket"),
}
_keep_pyroute2_small()
