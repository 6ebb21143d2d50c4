"""The cache of results: libcni's files."""

import base64
import json
import stat

import pytest

from cni.attachment import Attachment
from cni.errors import CniError, Code
from cni.runtime.cache import Cache, Entry

POD = Attachment("kindnet", "pod-1", "eth0")
ENTRY = Entry(
    attachment=POD,
    netns="/run/netns/pod",
    config=b'{"name": "kindnet"}',
    args=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")),
    capability_args={"portMappings": [{"hostPort": 8080}]},
    result={"cniVersion": "0.3.1", "dns": {}},
)
# as libcni writes it
TEXT = (
    '{"kind":"cniCacheV1","containerId":"pod-1","config":"eyJuYW1lIjogImtpbmRuZXQifQ==",'
    '"ifName":"eth0","networkName":"kindnet","netns":"/run/netns/pod",'
    '"cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAME","web"]],'
    '"capabilityArgs":{"portMappings":[{"hostPort":8080}]},'
    '"result":{"cniVersion":"0.3.1","dns":{}}}'
)


def put(cache: Cache, name: str, text: str) -> None:
    cache.directory.mkdir(parents=True, exist_ok=True)
    (cache.directory / name).write_text(text)


def test_file_is_the_one_that_libcni_would_write(cache: Cache) -> None:
    cache.save(ENTRY)

    (path,) = cache.directory.iterdir()
    assert path.name == "kindnet-pod-1-eth0"
    assert path.read_text() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


def test_what_is_saved_is_loaded(cache: Cache) -> None:
    cache.save(ENTRY)

    assert cache.load(POD) == ENTRY
    assert list(cache.entries()) == [ENTRY]


def test_keys_without_content_are_left_out(cache: Cache) -> None:
    cache.save(Entry(POD, "", b"{}"))

    written = json.loads(cache.path(POD).read_text())
    assert sorted(written) == ["config", "containerId", "ifName", "kind", "networkName"]
    assert cache.load(POD) == Entry(POD, "", b"{}")


def test_saving_again_replaces(cache: Cache) -> None:
    cache.save(ENTRY)

    cache.save(Entry(POD, "/run/netns/other", b"{}"))

    assert [entry.netns for entry in cache.entries()] == ["/run/netns/other"]


def test_each_interface_has_an_entry(cache: Cache) -> None:
    second = Attachment("kindnet", "pod-1", "net1")
    for attachment in (POD, second):
        cache.save(Entry(attachment, "", b"{}"))

    cache.forget(POD)

    assert [entry.attachment for entry in cache.entries()] == [second]


def test_nothing_is_there_before_the_first_entry(cache: Cache) -> None:
    cache.forget(POD)

    assert cache.load(POD) is None
    assert list(cache.entries()) == []
    assert not cache.directory.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"kind":"cniCacheV1","config":"*"}',
        '{"kind":"cniCacheV1","cniArgs":[["one"]]}',
        '{"kind":"cniCacheV1","result":1}',
    ],
    ids=["empty", "cut off", "no object", "config not base64", "half a pair", "wrong kind"],
)
def test_file_that_is_no_entry_is_refused_by_its_name(cache: Cache, text: str) -> None:
    put(cache, "kindnet-pod-1-eth0", text)

    with pytest.raises(CniError, match="kindnet-pod-1-eth0") as refusal:
        cache.load(POD)

    assert refusal.value.code == Code.DECODING_FAILURE
    assert list(cache.entries()) == []
    assert [path.name for path in cache.unreadable()] == ["kindnet-pod-1-eth0"]


def test_one_broken_file_hides_no_other(cache: Cache) -> None:
    put(cache, "a-broken", "{")
    put(cache, "b-foreign", '{"kind":"somethingElse"}')
    put(cache, ".new-halfway", TEXT)
    cache.save(ENTRY)

    assert list(cache.entries()) == [ENTRY]
    assert [path.name for path in cache.unreadable()] == ["a-broken", "b-foreign"]


def test_result_alone_is_read_as_libcni_before_0_7_wrote_it(cache: Cache) -> None:
    put(cache, "kindnet-pod-1-eth0", '{"cniVersion":"0.3.1","dns":{}}')

    entry = cache.load(POD)

    assert entry is not None
    assert entry.result == {"cniVersion": "0.3.1", "dns": {}}


def test_names_too_long_for_a_file_are_refused(cache: Cache) -> None:
    with pytest.raises(CniError, match="too long") as refusal:
        cache.path(Attachment("n" * 200, "c" * 200, "eth0"))

    assert refusal.value.code == Code.INVALID_ENVIRONMENT


def test_config_survives_any_bytes(cache: Cache) -> None:
    config = bytes(range(256))

    cache.save(Entry(POD, "", config))

    written = json.loads(cache.path(POD).read_text())
    assert base64.b64decode(written["config"]) == config
