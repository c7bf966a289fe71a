import errno
import io
import os
import socket
import threading
from functools import partial
from pathlib import Path

import pytest

from specrec.errors import StorageError, TrackError
from specrec.storage import SCHEMES, Location, for_spark, join, locate, open_store, parent, s3, scheme_of
from specrec.storage.config import StorageConfig
from specrec.storage.local import LocalStore
from specrec.storage.s3 import S3, S3Store
from specrec.storage.store import Unusable, as_text, is_text

moto = pytest.importorskip("moto")


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "normalised", "spark"),
    [
        ("/data/clips/", "/data/clips", "file:/data/clips"),
        ("/data/../clips", "/clips", "file:/clips"),
        ("file:///data/clips", "/data/clips", "file:/data/clips"),
        ("s3://bucket", "s3://bucket", "s3a://bucket"),
        ("s3://bucket/", "s3://bucket", "s3a://bucket"),
        ("s3a://bucket/a b/", "s3://bucket/a b", "s3a://bucket/a b"),
        ("s3n://bucket/x", "s3://bucket/x", "s3a://bucket/x"),
    ],
)
def test_a_place_has_one_name_here_and_one_for_spark(uri, normalised, spark):
    assert locate(uri) == normalised
    assert locate(normalised) == normalised
    assert for_spark(locate(uri)) == spark
    assert (scheme_of(locate(uri)) is S3) == uri.startswith("s3")


def test_relative_paths_and_homes_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert locate("clips") == str(tmp_path / "clips")
    assert locate("~/Music") == "/home/ann/Music"


@pytest.mark.parametrize("uri", ["http://host/x", "hdfs://host/x", "gs://bucket/x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(StorageError, match="s3://"):
        locate(uri)


@pytest.mark.parametrize("folder", ["/data", "s3://bucket", "s3://bucket/prefix"])
def test_a_file_joined_to_a_folder_has_it_as_parent(folder):
    assert join(folder, "a.wav") == f"{folder}/a.wav"
    assert parent(join(folder, "a.wav")) == folder
    assert join(folder, "a", "b.wav") == f"{folder}/a/b.wav"


@pytest.mark.parametrize(("top", "above"), [("/data", "/"), ("/", "/"), ("s3://bucket", "s3://bucket")])
def test_the_top_of_a_store_is_its_own_parent(top, above):
    assert parent(top) == above


@pytest.mark.parametrize("uri", ["s3://", "s3a:///"])
def test_a_bucket_without_a_name_is_refused_in_one_line(uri):
    with pytest.raises(StorageError, match="names no bucket: write s3://bucket/prefix"):
        locate(uri)


def test_what_is_no_place_is_refused_in_one_line_where_it_is_used():
    with pytest.raises(StorageError, match="'' is no place: use a path on disk or s3://bucket/prefix"):
        open_store(Location(""), StorageConfig())


def test_the_schemes_claim_different_texts():
    beginnings = [beginning for scheme in SCHEMES for beginning in (scheme.prefix, *scheme.aliases)]
    assert not any(one != other and one.startswith(other) for one in beginnings for other in beginnings)


def test_a_uri_chooses_its_store():
    assert isinstance(open_store("/data", StorageConfig()), LocalStore)
    assert isinstance(open_store("s3://bucket/x", StorageConfig()), S3Store)


# --- what every store does ----------------------------------------------------------------------------------


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    """Return a store and an empty folder of it."""
    if request.param == "disk":
        return LocalStore(), str(tmp_path)
    return request.getfixturevalue("bucket"), "s3://music/folder"


@pytest.fixture
def bucket(monkeypatch):
    """Return a store that has one bucket, `music`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with moto.mock_aws():
        s3._new_s3_client.cache_clear()
        config = StorageConfig(max_attempts=1)
        s3._s3_client(config).create_bucket(Bucket="music")
        yield S3Store(config)
        s3._new_s3_client.cache_clear()


def test_a_file_is_created_once_and_read(place):
    store, folder = place
    uri = join(folder, "new", "a.bin")
    assert store.create(uri, b"first")
    assert not store.create(uri, b"second")
    assert store.read(uri) == b"first"
    assert store.read(uri, max_bytes=5) == b"first"
    names = [file.uri for file in store.list(join(folder, "new"))]
    assert names == [uri]  # no temporary file stays


def test_files_and_folders_exist_by_their_whole_names(place):
    store, folder = place
    store.create(join(folder, "a.csv-old"), b"x")
    assert not store.exists(join(folder, "a.csv"))
    store.create(join(folder, "a.csv", "part"), b"x")
    assert store.exists(join(folder, "a.csv"))
    assert store.exists(join(folder, "a.csv", "part"))
    assert store.exists(folder)
    assert not store.exists(join(folder, "none", "part"))


def test_a_file_is_replaced_only_where_it_holds_what_was_expected(place):
    store, folder = place
    uri = join(folder, "a.bin")
    assert not store.replace(uri, b"", b"x")  # there is none
    store.create(uri, b"one")
    assert not store.replace(uri, b"other", b"x")
    assert store.read(uri) == b"one"
    assert store.replace(uri, b"one", b"two")
    assert store.read(uri) == b"two"
    assert not store.replace(uri, b"one", b"three")
    assert store.read(uri) == b"two"


def test_a_file_is_deleted_whether_it_is_there_or_not(place):
    store, folder = place
    uri = join(folder, "a.bin")
    store.create(uri, b"x")
    store.delete(uri)
    store.delete(uri)
    with pytest.raises(TrackError) as missing:
        store.read(uri)
    assert missing.value.code == "not_found"
    assert store.create(uri, b"again")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
def test_a_file_is_fetched_chunk_by_chunk(place, size):
    store, folder = place
    uri, data = join(folder, "a.bin"), os.urandom(size)
    store.create(uri, data)
    into = Recorder()
    assert store.fetch(uri, into, max_bytes=size) == size
    assert into.getvalue() == data
    assert into.largest <= 1 << 20


class Recorder(io.BytesIO):
    """Notes the largest write."""

    largest = 0

    def write(self, data):
        self.largest = max(self.largest, len(data))
        return super().write(data)


def test_what_a_file_is_fetched_into_holds_nothing_else(place, tmp_path):
    store, folder = place
    store.create(join(folder, "long"), b"long" * 1_000)
    store.create(join(folder, "short"), b"short")
    with (tmp_path / "spool").open("w+b") as into:
        store.fetch(join(folder, "long"), into, 10_000)
        store.fetch(join(folder, "short"), into, 10_000)
        assert (tmp_path / "spool").read_bytes() == b"short"  # flushed


def test_a_file_that_is_too_large_is_not_fetched(place):
    store, folder = place
    uri = join(folder, "a.bin")
    store.create(uri, bytes(3_000_000))
    into = io.BytesIO(b"untouched")
    for ask in (lambda: store.fetch(uri, into, 2_000_000), lambda: store.read(uri, max_bytes=2_000_000)):
        with pytest.raises(TrackError, match=r"3 MB.*allows 2") as refused:
            ask()
        assert refused.value.code == "too_large"
    assert into.getvalue() == b"untouched"


def test_a_full_disk_is_no_fault_of_the_file(place):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    store, folder = place
    store.create(join(folder, "a"), b"x")
    with pytest.raises(TrackError, match="No space left") as refused:
        store.fetch(join(folder, "a"), Full(), 10)
    assert refused.value.code == "storage_error"


def test_a_folder_lists_its_own_files_and_folders_alone(place):
    store, folder = place
    for name in ("a.wav", "b c.mp3", "sub/d.wav", "sub/deeper/e.wav"):
        store.create(join(folder, name), name.encode())
    files = {file.uri: file for file in store.list(folder)}
    assert set(files) == {join(folder, "a.wav"), join(folder, "b c.mp3")}
    assert files[join(folder, "a.wav")].size == 5
    assert list(store.folders(folder)) == [join(folder, "sub")]
    assert list(store.folders(join(folder, "sub"))) == [join(folder, "sub", "deeper")]


def test_what_is_not_there_lists_nothing(place):
    store, folder = place
    assert list(store.list(join(folder, "none"))) == []
    assert list(store.folders(join(folder, "none"))) == []


def test_a_fingerprint_tells_a_changed_file_from_an_unchanged_one(place):
    store, folder = place
    uri = join(folder, "a.wav")
    store.create(uri, b"12345")
    (first,) = store.list(folder)
    (again,) = store.list(folder)
    assert first == again
    store.delete(uri)
    store.create(uri, b"54321")
    if isinstance(store, LocalStore):
        os.utime(uri, (1, 1))  # a disk knows only size and time
    assert next(store.list(folder)).fingerprint != first.fingerprint


def test_a_file_is_read_here_and_there(place):
    store, folder = place
    uri, data = join(folder, "a.bin"), bytes(range(256)) * 1_000
    store.create(uri, data)
    with store.open(uri, len(data)) as file:
        file.seek(100_000)
        assert file.read(10) == data[100_000:100_010]
        file.seek(-7, os.SEEK_END)
        assert file.read() == data[-7:]
        assert file.read() == b""
        file.seek(3)
        file.seek(2, os.SEEK_CUR)
        assert file.tell() == 5
        assert file.read(70_000) == data[5:70_005]


def test_a_folder_that_is_reached(place):
    store, folder = place
    store.create(join(folder, "a"), b"")
    store.check(folder)


# --- what only one of them meets ----------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(StorageError, match="there is no folder"):
        LocalStore().check(str(tmp_path / "none"))


@pytest.mark.timeout(20)  # a FIFO that is opened in the usual way waits for a writer for ever
def test_what_is_no_regular_file_is_not_found(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        listener.bind("socket")
        for path, message in (
            (tmp_path, "a folder"),
            (tmp_path / "fifo", "not a regular file"),
            (tmp_path / "socket", "not a regular file"),
            ("/dev/zero", "not a regular file"),
            (tmp_path / "none", "no such file"),
            (tmp_path / "fifo" / "below", "no such file"),
        ):
            with pytest.raises(TrackError, match=message) as refused:
                LocalStore().fetch(str(path), io.BytesIO(), 1_000)
            assert refused.value.code == "not_found"


def test_a_file_that_grows_while_it_is_fetched_stays_within_the_limit(tmp_path):
    class Growing(io.BytesIO):
        def write(self, data):
            with file.open("ab") as more:
                more.write(data)
            return super().write(data)

    file, into = tmp_path / "log", Growing()
    file.write_bytes(bytes(600_000))
    with pytest.raises(TrackError) as refused:
        LocalStore().fetch(str(file), into, 10_000_000)
    assert refused.value.code == "too_large"
    assert len(into.getvalue()) <= 10_000_000


def test_links_are_followed_within_a_root_and_out_of_it_only_if_asked(tmp_path):
    root = tmp_path / "root"
    (root / "Album").mkdir(parents=True)
    (root / "Album" / "song").write_bytes(b"music")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "within").symlink_to(root / "Album" / "song")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "folder out").symlink_to(tmp_path)
    (tmp_path / "linked root").symlink_to(root)
    for place in (root, tmp_path / "linked root"):
        inside, anywhere = LocalStore(str(place)), LocalStore(str(place), follow_links_out=True)
        assert inside.read(f"{place}/within") == inside.read(f"{place}/Album/song") == b"music"
        for way in ("out", "folder out/secret", "Album/../out"):
            for ask in (inside.read, partial(inside.open, size=1)):
                with pytest.raises(TrackError, match="a link leads out of") as refused:
                    ask(f"{place}/{way}")
                assert refused.value.code == "forbidden_path"
            assert anywhere.read(f"{place}/{way}") == b"secret"
    assert LocalStore().read(f"{root}/out") == b"secret"  # as for a query, which is no data


def test_what_leads_nowhere_is_not_found(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "broken").symlink_to("none")
    for name in ("loop", "broken", "n" * 300):
        for store in (LocalStore(), LocalStore(str(tmp_path))):
            with pytest.raises(TrackError) as refused:
                store.read(f"{tmp_path}/{name}")
            assert refused.value.code == "not_found"


def test_a_file_that_changed_behind_its_old_time_has_another_fingerprint(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"Old")
    os.utime(file, (1, 1))
    (before,) = LocalStore().list(str(tmp_path))
    file.write_bytes(b"New")
    os.utime(file, (1, 1))
    (after,) = LocalStore().list(str(tmp_path))
    assert before.fingerprint != after.fingerprint
    assert before.fingerprint.split("-")[:2] == after.fingerprint.split("-")[:2] == ["3", "1000000000"]


def test_a_root_that_is_no_text_is_refused_in_one_line(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcsik")
    os.mkdir(odd)
    with pytest.raises(StorageError, match=r"M\\xfcsik is not UTF-8"):
        LocalStore().check(odd)


@pytest.mark.parametrize(
    "text", ["", "café", "a\nb", "\U0010ffff", "caf\udce9", "\ud800x\udfff", "\udc80\udcff\udc7f"]
)
def test_any_text_can_be_written_out(text):
    written = as_text(text)
    written.encode("utf-8")
    assert is_text(written)
    assert (written == text) == is_text(text)


def test_keys_are_listed_as_they_are_or_told(bucket, monkeypatch):
    # an S3 server keeps Unicode alone; others, on a disk, say what they find, with the bytes quoted
    pages = [
        {"EncodingType": "url", "Contents": [_object("p/caf%C3%A9+1.mp3"), _object("p/caf%E9.mp3"), _object("p/")]},
        {"EncodingType": "url", "CommonPrefixes": [{"Prefix": f"p/{name}/"} for name in ("a%0A", "%FF", "")]},
        {"Contents": [_object("p/100%25.mp3")]},  # a server that quotes nothing
    ]
    paginator = type("Paginator", (), {"paginate": lambda *_, **__: iter(pages)})
    monkeypatch.setattr(S3Store, "_client", type("Client", (), {"get_paginator": lambda *_: paginator()})())
    found = list(bucket.entries("s3://music/p"))
    assert [(type(entry).__name__, entry.uri.removeprefix("s3://music/p/")) for entry in found] == [
        ("StoredFile", "café 1.mp3"),
        ("Unusable", "caf\\xe9.mp3"),
        ("StoredFolder", "a\n"),
        ("Unusable", "\\xff"),
        ("Unusable", "/"),
        ("StoredFile", "100%25.mp3"),
    ]
    assert {entry.code for entry in found if isinstance(entry, Unusable)} == {"unreadable_name"}


def _object(key):
    return {"Key": key, "ETag": '"e"', "Size": 1}


def test_a_file_that_may_not_be_read_is_tried_again(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"x")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(TrackError) as refused:
        LocalStore().read(str(file))
    assert refused.value.code == "storage_error"


def test_of_many_replacements_of_the_same_content_one_succeeds(tmp_path):
    uri = str(tmp_path / "a")
    LocalStore().create(uri, b"0")
    start, won = threading.Barrier(8), []

    def replace(number):
        start.wait()
        if LocalStore().replace(uri, b"0", b"%d" % number):
            won.append(b"%d" % number)

    threads = [threading.Thread(target=replace, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert Path(uri).read_bytes() == won[0]


def test_a_bucket_that_is_not_there_is_named_in_one_line(bucket):
    for ask in (
        lambda: bucket.check("s3://absent/x"),
        lambda: list(bucket.list("s3://absent/x")),
        lambda: bucket.create("s3://absent/x", b""),
        lambda: bucket.replace("s3://absent/x", b"", b""),
    ):
        with pytest.raises(StorageError, match="absent") as refused:
            ask()
        assert "\n" not in str(refused.value)


def test_threads_share_one_client(bucket):
    start, clients = threading.Barrier(8), []

    def ask():
        start.wait()
        clients.append(s3._s3_client(StorageConfig(region="eu-west-1")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 8
    assert len(set(map(id, clients))) == 1


def test_a_uri_without_a_bucket_is_refused():
    with pytest.raises(StorageError, match="bucket"):
        S3Store(StorageConfig()).check("s3:///x")


def test_a_server_that_does_not_answer_is_a_storage_error(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    store = S3Store(StorageConfig(endpoint_url="http://127.0.0.1:9", path_style=True, max_attempts=1))
    with pytest.raises(StorageError, match=r"cannot reach s3://b/x at http://127\.0\.0\.1:9"):
        store.check("s3://b/x")
    with pytest.raises(TrackError) as refused:
        store.read("s3://b/x")
    assert refused.value.code == "storage_error"
