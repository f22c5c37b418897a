"""What a user points at becomes one stream of pictures, in order, and nothing is lost silently."""

import contextlib
import gzip
import io
import os
import tarfile
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candid.errors import DataError, ImageError
from candid.inference.sources import count_images, items, resolve
from candid.storage import filesystem
from inference.tiny import encoded, pixels, write_tar


def ids(*words, **options):
    return [item.id for item in items([str(w) for w in words], **options)]


def outcomes(*words, **options):
    """(id, bytes or the reason) of each picture, read in order."""
    found = []
    for item in items([str(w) for w in words], **options):
        try:
            found.append((item.id, item.read()))
        except ImageError as error:
            found.append((item.id, error.what))
    return found


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_a_folder_goes_by_name_and_downwards(tmp_path, monkeypatch):
    put(
        tmp_path,
        "a/b.jpg",
        "a/a.PNG",
        "a/z/c.webp",
        "a/z/d.HEIC",
        "a/z/.hidden.jpg",
        "a/.git/d.jpg",
        "a/notes.txt",
    )
    monkeypatch.chdir(tmp_path)
    assert ids("a") == ["a/a.PNG", "a/b.jpg", "a/z/c.webp", "a/z/d.HEIC"]
    assert count_images(["a"]) == 4


def test_words_keep_their_order(tmp_path, monkeypatch):
    put(tmp_path, "b.jpg", "a.jpg", "more/2.jpg", "more/1.jpg", "odd.name")
    monkeypatch.chdir(tmp_path)
    assert ids("b.jpg", "more", "a.jpg", "odd.name") == [
        *("b.jpg", "more/1.jpg", "more/2.jpg", "a.jpg", "odd.name")
    ]


def test_globs(tmp_path, monkeypatch):
    put(tmp_path, "x/2.jpg", "x/1.jpg", "x/y/3.jpg", "x/1.txt", "we[i]rd.jpg")
    monkeypatch.chdir(tmp_path)
    assert resolve(["x/*.jpg"]) == ["x/1.jpg", "x/2.jpg"]
    assert resolve(["x/**/*.jpg"]) == ["x/1.jpg", "x/2.jpg", "x/y/3.jpg"]
    assert resolve(["we[i]rd.jpg"]) == ["we[i]rd.jpg"]  # what is there is no pattern


def test_what_is_not_there_is_said_before_anything_is_done(tmp_path, monkeypatch):
    put(tmp_path, "face.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="fase") as caught:
        resolve(["face.jpg", "fase.jpg"])
    assert "'face.jpg'" in caught.value.todo
    for wrong in (["nothing/*.jpg"], [], ["-", "-"], ["a\0b"]):
        with pytest.raises(DataError):
            resolve(wrong)


def test_a_list_on_standard_input(tmp_path, monkeypatch):
    put(tmp_path, "a.jpg", "b c.jpg", "d/e.jpg")
    monkeypatch.chdir(tmp_path)
    listed = io.BytesIO(b"\xef\xbb\xbfb c.jpg\n\na.jpg\r\nmissing.jpg\nd\nnul\0.jpg\n\xe9.jpg")
    assert outcomes("-", stdin=listed) == [
        ("b c.jpg", b"b c.jpg"),
        ("a.jpg", b"a.jpg"),
        ("missing.jpg", "the file is missing"),
        ("d/e.jpg", b"d/e.jpg"),
        ("nul\0.jpg", "the path holds a NUL"),
        ("\\xe9.jpg", "the file is missing"),
    ]
    listed.seek(0)
    assert count_images(["-"], listed) == 6
    assert listed.tell() == 0


def test_a_store_that_does_not_answer_stops_no_other_line(tmp_path, monkeypatch):
    put(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)

    def silent(name):
        raise DataError(f"Cannot read {name}: no route.", expected="a store", todo="ask it later")

    monkeypatch.setattr(filesystem, "is_folder", silent)
    monkeypatch.setattr(filesystem, "local_copy", contextlib.contextmanager(silent))
    listed = io.BytesIO(b"s3://far/1.jpg\ns3://far/2.tar\na.jpg\n")
    assert outcomes("-", stdin=listed) == [
        ("s3://far/1.jpg", "Cannot read s3://far/1.jpg: no route."),
        ("s3://far/2.tar", "Cannot read s3://far/2.tar: no route."),
        ("a.jpg", b"a.jpg"),
    ]


def test_files_that_are_none(tmp_path):
    put(tmp_path, "there.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "there.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert outcomes(tmp_path) == [
        (str(tmp_path / "empty.jpg"), "the file is empty"),
        (str(tmp_path / "gone.jpg"), "the file is missing"),
        (str(tmp_path / "link.jpg"), b"there.jpg"),
        (str(tmp_path / "pipe.jpg"), "not a regular file"),
        (str(tmp_path / "there.jpg"), b"there.jpg"),
    ]


def test_a_link_to_a_folder_above_is_not_followed_in_circles(tmp_path):
    put(tmp_path, "in/a.jpg")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    assert ids(tmp_path) == [str(tmp_path / "in/a.jpg")]


# --- tar -----------------------------------------------------------------------------------------


def test_tar_in_its_own_order(tmp_path):
    members = {"2.jpg": b"two", "dir/1.PNG": b"one", "2.cls": b"0", "dir/._1.png": b"mac"}
    path = write_tar(tmp_path / "a.tar", members)
    assert outcomes(path) == [(f"{path}/2.jpg", b"two"), (f"{path}/dir/1.PNG", b"one")]
    assert count_images([str(path)]) == 2
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [data for _, data in outcomes(packed)] == [b"two", b"one"]
    assert count_images([str(packed)]) is None


def test_names_in_a_tar_are_names_and_nothing_else(tmp_path):
    names = ["../../etc/passwd.jpg", "/abs.jpg", "<b>x</b>.jpg", "=cmd|' /C calc'!A0.jpg"]
    path = write_tar(tmp_path / "a.tar", dict.fromkeys(names, b"x"))
    assert [i.removeprefix(f"{path}/") for i in ids(path)] == names
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]


def test_links_in_a_tar_are_passed_over(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            about = tarfile.TarInfo("x.jpg")
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
    assert ids(path) == []


@pytest.mark.parametrize("left", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_that_is_cut_short_says_so(tmp_path, left, packed):
    whole = write_tar(tmp_path / "a.tar", {f"{i}.jpg": os.urandom(700) for i in range(30)})
    data = gzip.compress(whole.read_bytes()) if packed else whole.read_bytes()
    path = tmp_path / ("cut.tar.gz" if packed else "cut.tar")
    path.write_bytes(data[: int(left * len(data))])
    found = outcomes(path)
    complete = [d for _, d in outcomes(whole)]
    good = [d for _, d in found if isinstance(d, bytes)]
    assert 0 < len(good) < 30
    assert good == complete[: len(good)]
    assert found[-1][0] == str(path)
    assert "cut short" in found[-1][1]


def test_a_tar_cut_between_two_members_says_so_too(tmp_path):
    """There `tarfile` itself sees the end of a whole archive."""
    whole = write_tar(tmp_path / "a.tar", {f"{i}.jpg": b"x" * 512 for i in range(5)})
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[: 3 * 1024])
    found = outcomes(tmp_path / "cut.tar")
    assert [d for _, d in found[:3]] == [b"x" * 512] * 3
    assert len(found) == 4
    assert "no end mark" in found[3][1]
    spoilt = whole.read_bytes()[: 3 * 1024] + b"\xff" * 1024
    (tmp_path / "spoilt.tar").write_bytes(spoilt)
    assert "damaged" in outcomes(tmp_path / "spoilt.tar")[-1][1]


@pytest.mark.parametrize("data", [b"", b"hello" * 1000, b"\x1f\x8b\x08broken"])
@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.parquet"])
def test_what_is_no_archive_is_one_row_with_an_error(tmp_path, data, name):
    (tmp_path / name).write_bytes(data)
    ((where, reason),) = outcomes(tmp_path / name)
    assert where == str(tmp_path / name)
    assert "can be read" in reason


def test_a_member_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        about = tarfile.TarInfo("huge.jpg")
        about.size = 1 << 33
        archive.fileobj.write(about.tobuf())
    reasons = [reason for _, reason in outcomes(path)]
    assert "too large" in reasons[0]
    assert "cut short" in reasons[-1]


def test_memory_does_not_grow_with_a_tar(tmp_path):
    def peak(n):
        path = write_tar(tmp_path / f"{n}.tar", {f"{i}.jpg": b"x" for i in range(n)})
        tracemalloc.start()
        try:
            total = sum(1 for _ in items([str(path)]))
            return tracemalloc.get_traced_memory()[1], total
        finally:
            tracemalloc.stop()

    small, large = peak(50), peak(1500)
    assert (small[1], large[1]) == (50, 1500)
    assert large[0] < 1.5 * small[0] + 50_000


# --- Parquet -------------------------------------------------------------------------------------


def test_parquet_as_datasets_writes_it(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": b"one", "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}, None,
             {"bytes": b"four", "path": None}]  # fmt: skip
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [0, 1, 0, 1], "image": pa.array(cells, kind)}), path)
    assert outcomes(path) == [
        (f"{path}/0", b"one"),
        (f"{path}/1", "the row holds a path but no bytes"),
        (f"{path}/2", "the row holds no image"),
        (f"{path}/3", b"four"),
    ]
    assert count_images([str(path)]) == 4


def test_parquet_columns(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"key": [b"k"], "jpg": [b"j"], "n": [1]}), path)
    assert outcomes(path) == [(f"{path}/0", b"j")]  # the usual word
    assert outcomes(path, column="key") == [(f"{path}/0", b"k")]
    with pytest.raises(DataError, match="kee") as caught:
        ids(path, column="kee")
    assert "'key'" in caught.value.todo
    pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(DataError, match="no column with embedded pictures"):
        ids(path)


def test_parquet_over_row_groups(tmp_path):
    data = [encoded(p) for p in pixels(70)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": data}), path, row_group_size=23)
    assert [d for _, d in outcomes(path)] == data


# --- what is not what it seems -------------------------------------------------------------------


def test_a_link_in_a_folder_is_read_where_it_stays_inside(tmp_path):
    (tmp_path / "secret.txt").write_bytes(b"the secret")
    put(tmp_path / "in", "a.png", "below/b.png")
    (tmp_path / "in/c.png").symlink_to("below/b.png")
    (tmp_path / "in/d.png").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "in/below/e.png").symlink_to("../../secret.txt")
    (tmp_path / "link").symlink_to("in")
    for folder in ("in", "link"):
        found = {os.path.basename(name): what for name, what in outcomes(tmp_path / folder)}
        assert found["c.png"] == b"below/b.png"
        assert "leads out of the folder" in found["d.png"]
        assert "leads out of the folder" in found["e.png"]
    (tmp_path / "named.png").symlink_to("secret.txt")  # what the user names is the user's business
    assert outcomes(tmp_path / "named.png")[0][1] == b"the secret"


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.parquet", "a.png"])
def test_pipes_and_devices_are_not_read(tmp_path, name):
    for kind in ("pipe", "zero"):
        path = tmp_path / kind / name
        path.parent.mkdir()
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
        ((_, reason),) = outcomes(path)
        assert "not a regular file" in reason


def sparse_tar(path, numbers: bytes):
    """A member in the newest of GNU's sparse formats, whose map holds odd numbers."""
    info = tarfile.TarInfo("a.png")
    info.size = 512
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": "512",
    }
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(numbers.ljust(512, b"\0")))
    return path


@pytest.mark.parametrize("numbers", [b"x\n", b"1\n0\n", b"top secret\n", b"9" * 400 + b"\n", b""])
def test_odd_sparse_members_are_one_row_with_an_error(tmp_path, numbers):
    ((_, reason),) = outcomes(sparse_tar(tmp_path / "a.tar", numbers))
    assert "tar" in reason or "damaged" in reason
    assert "secret" not in reason


def test_a_header_never_leads_back(tmp_path):
    """A size below 0 made `tarfile` read the same member for ever."""
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"size": "-1536"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    assert any("damaged" in str(what) or "tar file" in str(what)
               for _, what in outcomes(tmp_path / "a.tar"))  # fmt: skip


def test_a_long_name_that_is_hundreds_of_megabytes_is_refused_before_it_is_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 300 << 20
    with gzip.open(tmp_path / "a.tgz", "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size))
    tracemalloc.start()
    ((_, reason),) = outcomes(tmp_path / "a.tgz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "tar file" in reason and peak < 50 << 20
