"""Which file becomes which network."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni.errors import CniError, Code
from cni.runtime import conflist

ABSENT = object()


def write(path: Path, values: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values))


def network(name: str = "net", **keys: Any) -> dict[str, Any]:
    """Return a list of one plugin; `keys` replace or, ABSENT, remove what it has."""
    values = {"cniVersion": "1.0.0", "name": name, "plugins": [{"type": "ptp"}], **keys}
    return {key: value for key, value in values.items() if value is not ABSENT}


def types(found: conflist.ConfList) -> list[str]:
    return [plugin["type"] for plugin in found.plugins]


def test_list_is_found_by_its_name_not_its_file(net_d: Path) -> None:
    write(net_d / "10-other.conflist", network("other"))
    write(net_d / "20-x.conflist", network("net", plugins=[{"type": "bridge"}]))

    assert types(conflist.load(net_d, "net")) == ["bridge"]


def test_first_file_wins_and_lists_win_over_plugin_files(net_d: Path) -> None:
    write(net_d / "00.conf", {"name": "net", "type": "loopback"})
    write(net_d / "30.conflist", network("net", plugins=[{"type": "third"}]))
    write(net_d / "20.conflist", network("net", plugins=[{"type": "second"}]))

    assert types(conflist.load(net_d, "net")) == ["second"]


@pytest.mark.parametrize("suffix", ["conf", "json"])
def test_plugin_file_becomes_a_list_of_one(net_d: Path, suffix: str) -> None:
    plugin = {"cniVersion": "0.4.0", "name": "net", "type": "ptp", "mtu": 1400}
    write(net_d / f"10-ptp.{suffix}", plugin)

    found = conflist.load(net_d, "net")

    assert (found.name, found.cni_version, found.plugins) == ("net", "0.4.0", (plugin,))
    assert json.loads(found.text)["plugins"] == [plugin]


def test_cache_gets_the_file_as_it_was_written(net_d: Path) -> None:
    text = b'{"name": "net",\n  "plugins": [ {"type": "ptp"} ]}\n'
    (net_d / "10.conflist").write_bytes(text)

    assert conflist.load(net_d, "net").text == text


def test_directories_and_other_files_are_passed_over(net_d: Path) -> None:
    (net_d / "00.conflist").mkdir()
    (net_d / "10.conflist.bak").write_text("{")
    write(net_d / "20.conflist", network())

    assert conflist.load(net_d, "net").name == "net"


@pytest.mark.parametrize("exists", [True, False], ids=["empty directory", "no directory"])
def test_unknown_network_is_refused_with_the_place_that_was_searched(
    net_d: Path, *, exists: bool
) -> None:
    directory = net_d if exists else net_d / "nowhere"

    with pytest.raises(CniError, match="no net configuration") as refusal:
        conflist.load(directory, "net")

    assert refusal.value.code == Code.INVALID_CONFIG
    assert str(directory) in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", Code.DECODING_FAILURE),
        ("[]", Code.DECODING_FAILURE),
        ('{"name": 1}', Code.INVALID_CONFIG),
        ('{"name": "net", "cniVersion": 1, "plugins": [{"type": "a"}]}', Code.INVALID_CONFIG),
        ('{"name": "net", "plugins": {}}', Code.INVALID_CONFIG),
        ('{"name": "net", "plugins": []}', Code.INVALID_CONFIG),
        ('{"name": "net", "plugins": [{}]}', Code.INVALID_CONFIG),
        ('{"name": "net", "plugins": [{"type": "a", "capabilities": 1}]}', Code.INVALID_CONFIG),
        ('{"name": "net"}', Code.INVALID_CONFIG),
        ('{"name": "net", "disableCheck": "yes", "plugins": [{"type": "a"}]}', Code.INVALID_CONFIG),
        ('{"name": "net", "disableGC": 1, "plugins": [{"type": "a"}]}', Code.INVALID_CONFIG),
    ],
    ids=[
        "cut off",
        "no object",
        "name of a wrong kind",
        "cniVersion of a wrong kind",
        "plugins of a wrong kind",
        "empty plugins",
        "plugin without type",
        "capabilities of a wrong kind",
        "no plugins at all",
        "flag that is no bool",
        "flag that is a number",
    ],
)
def test_malformed_list_is_refused_by_its_file_name(net_d: Path, text: str, code: Code) -> None:
    (net_d / "10-broken.conflist").write_text(text)

    with pytest.raises(CniError, match=r"10-broken\.conflist") as refusal:
        conflist.load(net_d, "net")

    assert refusal.value.code == code


def test_malformed_plugin_file_is_refused_by_its_file_name(net_d: Path) -> None:
    write(net_d / "10-no-type.conf", {"name": "net"})

    with pytest.raises(CniError, match=r"10-no-type\.conf: .*type"):
        conflist.load(net_d, "net")


@pytest.mark.parametrize("name", ["", "../net", "a/b", "a b", "n" * 256, "-net"])
def test_name_that_cannot_be_a_network_is_refused(net_d: Path, name: str) -> None:
    write(net_d / "10.conflist", network(name))

    with pytest.raises(CniError) as refusal:
        conflist.load(net_d, name)

    assert refusal.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize(
    ("value", "meant"),
    [(True, True), ("true", True), ("TRUE", True), (False, False), ("false", False), (None, False)],
)
def test_flags_may_be_strings(net_d: Path, value: Any, *, meant: bool) -> None:
    write(net_d / "10.conflist", network(disableCheck=value, disableGC=value))

    found = conflist.load(net_d, "net")

    assert (found.disable_check, found.disable_gc) == (meant, meant)


@pytest.mark.parametrize(
    ("only_inlined", "inlined", "dropped", "expected"),
    [
        (False, ["a"], ["b"], ["a", "b"]),
        ("false", ["a"], ["b"], ["a", "b"]),
        (ABSENT, ["a"], ["b", "c"], ["a", "b", "c"]),
        (ABSENT, ABSENT, ["b"], ["b"]),
        (False, ["a"], [], ["a"]),
        (True, ["a"], ["b"], ["a"]),
        ("true", ["a"], ["b"], ["a"]),
        (True, ["a"], [], ["a"]),
    ],
)
def test_plugins_are_those_of_the_list_and_of_its_directory(
    net_d: Path, only_inlined: Any, inlined: Any, dropped: list[str], expected: list[str]
) -> None:
    plugins = inlined if inlined is ABSENT else [{"type": kind} for kind in inlined]
    write(net_d / "10.conflist", network(loadOnlyInlinedPlugins=only_inlined, plugins=plugins))
    for number, kind in enumerate(dropped):
        write(net_d / "net" / f"{number}.conf", {"type": kind})

    assert types(conflist.load(net_d, "net")) == expected


@pytest.mark.parametrize("only_inlined", [True, False], ids=["only inlined", "no directory"])
def test_list_that_ends_without_plugins_is_refused(net_d: Path, *, only_inlined: bool) -> None:
    write(net_d / "10.conflist", network(loadOnlyInlinedPlugins=only_inlined, plugins=ABSENT))

    with pytest.raises(CniError, match="no plugins"):
        conflist.load(net_d, "net")


def test_malformed_dropin_is_refused_by_its_file_name(net_d: Path) -> None:
    write(net_d / "10.conflist", network())
    write(net_d / "net" / "5-broken.conf", {"mtu": 1500})

    with pytest.raises(CniError, match=r"5-broken\.conf"):
        conflist.load(net_d, "net")


@pytest.mark.parametrize(
    ("one", "several", "chosen"),
    [
        ("0.4.0", ABSENT, "0.4.0"),
        (ABSENT, ABSENT, "0.1.0"),
        ("0.4.0", ["1.0.0", "1.1.0"], "1.1.0"),
        ("1.0.0", ["0.3.1", "0.4.0"], "1.0.0"),
        ("0.4.0", ["1.0.0", "9.9.9"], "1.0.0"),
        ("0.4.0", ["9.9.9"], "0.4.0"),
        ("9.9.9", ["9.9.8"], "9.9.9"),
        ("0.4.0", [], "0.4.0"),
        (ABSENT, [], "0.1.0"),
        (ABSENT, ["0.3.0", "0.3.1"], "0.3.1"),
    ],
    ids=[
        "cniVersion alone",
        "no version",
        "newest of several",
        "cniVersion counts too",
        "what we do not know is passed over",
        "fall back on cniVersion",
        "nothing known",
        "empty list",
        "empty list, no cniVersion",
        "several alone",
    ],
)
def test_version_is_the_newest_that_both_know(
    net_d: Path, one: Any, several: Any, chosen: str
) -> None:
    write(net_d / "10.conflist", network(cniVersion=one, cniVersions=several))

    assert conflist.load(net_d, "net").cni_version == chosen


@pytest.mark.parametrize("several", ["1.0.0", [1], ["1.0.0.0"], ["latest"]])
def test_versions_that_are_none_are_refused(net_d: Path, several: Any) -> None:
    write(net_d / "10.conflist", network(cniVersions=several))

    with pytest.raises(CniError, match="cniVersions") as refusal:
        conflist.load(net_d, "net")

    assert refusal.value.code == Code.INVALID_CONFIG


def test_all_networks_are_those_that_can_be_read(net_d: Path) -> None:
    write(net_d / "10.conflist", network("lists"))
    (net_d / "20.conflist").write_text("{")
    write(net_d / "30.conflist", network("../escape"))
    write(net_d / "40.conf", {"name": "plugin", "type": "ptp"})
    write(net_d / "50.json", {"name": "no-type"})

    assert [found.name for found in conflist.load_all(net_d)] == ["lists", "plugin"]
