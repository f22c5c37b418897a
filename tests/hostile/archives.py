"""Hostile tar files and Parquet files with pictures, for predict and explore."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from hostile import mutate, pictures
from hostile.kit import Kit


def good(rng: Random, n: int = 8) -> bytes:
    """A shard of pictures with annotations."""
    out = io.BytesIO()
    kind = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for i in range(n):
            said = {
                "Hat": "yn"[i % 2],
                "split": ("train", "train", "validation", "test")[i // 2 % 4],
            }
            if rng.random() < 0.1:
                said = mutate.spoil_plain(said, rng)
            picture = pictures.encoded(rng, "PNG", (16, 16))
            for name, data in (
                (f"{i:03}.png", picture),
                (f"{i:03}.json", json.dumps(said).encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def spoilt(rng: Random) -> bytes:
    return mutate.spoil(good(rng), rng)


def _sealed(header: bytearray) -> bytes:
    """A header with the right checksum, so that what it claims is believed."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def header(rng: Random) -> bytes:
    """A shard in which one header makes absurd claims."""
    data = bytearray(good(rng))
    starts = [i for i in range(0, len(data), 512) if data[i + 257 : i + 262] == b"ustar"]
    at = rng.choice(starts)
    block = bytearray(data[at : at + 512])
    what = rng.choice(("size", "negative", "type", "name", "noise"))
    if what == "size":
        block[124:136] = rng.choice(
            (b"77777777777\0", b"\x80" + b"\0" * 3 + b"\x7f" * 8, b"zzzzzzzzzzz\0")
        )
    elif what == "negative":
        block[124:136] = b"\xff" * 11 + bytes([rng.choice((0, 0xFF, 0x80))])
    elif what == "type":
        block[156:157] = rng.choice(
            (b"S", b"K", b"L", b"x", b"g", b"X", b"1", b"2", b"3", b"6", b"V", b"\xff")
        )
    elif what == "name":
        name = rng.choice(
            (b"../../x.png", b"/etc/x.png", b"\xff\xfe.png", b"a\nb.png", b"=1+1.png")
        )
        block[:100] = name.ljust(100, b"\0")
    else:
        place = rng.randrange(500)
        block[place : place + 12] = rng.randbytes(12)
    data[at : at + 512] = _sealed(block)
    return bytes(data)


def sparse(rng: Random) -> bytes:
    """GNU's old sparse header, or one of the three newer ones in pax records, with odd numbers."""
    number = str(rng.choice((0, -1, 1, 7, 10**9, 10**12, 10**30, "x", "")))
    if rng.random() < 0.4:
        info = tarfile.TarInfo("a.png")
        info.type = tarfile.GNUTYPE_SPARSE
        info.size = rng.choice((0, 512, 10**6))
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        block[386 : 386 + 109] = rng.choice((rng.randbytes(109), b"77777777777\0" * 9 + b"\x01"))
        return _sealed(block) + rng.randbytes(512 * rng.randrange(4)) + good(rng, 2)
    records = {
        "GNU.sparse.major": rng.choice(("1", "0", number)),
        "GNU.sparse.minor": rng.choice(("0", "1", number)),
        "GNU.sparse.name": rng.choice(("a.png", "../a.png")),
        rng.choice(("GNU.sparse.realsize", "GNU.sparse.size")): number,
        rng.choice(("GNU.sparse.map", "GNU.sparse.numblocks")): rng.choice(
            ("1,2", "1,2,3", "a,b", number)
        ),
    }
    return pax(rng, records, rng.choice((b"2\n0\n512\n", b"9" * 400 + b"\n", b"\n\n", b"")))


def pax(rng: Random, records: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A member with odd pax records."""
    if records is None:
        number = str(rng.choice((-1, -512, -1024, 10**30, "x", "nan", "1e9")))
        keys = ("size", "path", "mtime", "hdrcharset", "uid", "linkpath", "GNU.sparse.size")
        records = {rng.choice(keys): rng.choice((number, rng.choice(mutate.WORDS)))}
    info = tarfile.TarInfo("b.png")
    body = body or pictures.encoded(rng, "PNG")
    info.size = len(body)
    info.pax_headers = {k: v.replace("\0", "") for k, v in records.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(body))
    return out.getvalue()[:-10240] + good(rng, 2)


def nested(rng: Random) -> bytes:
    """Headers that say more of headers that say more, thousands deep."""
    info = tarfile.TarInfo("././@LongLink")
    info.type = rng.choice((tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGLINK))
    info.size = rng.choice((0, 512))
    one = info.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(info.size, b"\0")
    return one * rng.choice((3, 3000)) + good(rng, 2)


MADE = (spoilt, spoilt, header, header, sparse, sparse, pax, nested)


def squeezed(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Perhaps compressed, perhaps damaged then."""
    if rng.random() < 0.7:
        return data, ".tar"
    packed = gzip.compress(data, 1)
    return mutate.spoil(packed, rng) if rng.random() < 0.5 else packed, rng.choice(
        (".tar.gz", ".tgz")
    )


def labelled(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    data, ending = squeezed(rng.choice(MADE)(rng), rng)
    (path / f"a{ending}").write_bytes(data)
    out = rng.choice(("out.csv", "out.jsonl", "folder/"))
    return [["predict", str(kit.model), str(path / f"a{ending}"), "--out", f"{path}/{out}"]]


def squeezed_bombs(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    """A picture, or a long name or pax record, of hundreds of megabytes of zeros."""
    info = tarfile.TarInfo(rng.choice(("a.png", "././@LongLink")))
    types = (
        (tarfile.REGTYPE,) if info.name == "a.png" else (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)
    )
    info.type, info.size = rng.choice(types), rng.choice((200, 700)) << 20
    with gzip.open(path / "a.tgz", "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(info.size >> 20):
            file.write(bytes(1 << 20))
        file.write(good(rng, 1))
    return [["predict", str(kit.model), str(path / "a.tgz"), "--out", str(path / "out.csv")]]


def explored(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    (path / "in").mkdir()
    (path / "in" / "train-000.tar").write_bytes(rng.choice(MADE)(rng))
    if rng.random() < 0.7:
        (path / "in" / "val-000.tar").write_bytes(good(rng))
    given = path / "in" if rng.random() < 0.7 else path / "in" / "train-000.tar"
    return [kit.explore(given, path)]


def parquet(rng: Random) -> bytes:
    """Embedded pictures; the file's own bytes or its columns may be odd."""
    n = rng.choice((0, 1, 8))
    images = [rng.choice((pictures.spoilt, pictures.encoded))(rng) for _ in range(n)]
    kind = rng.choice(
        (pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    )
    if pa.types.is_struct(kind):
        images = [
            {"bytes": rng.choice((i, None)), "path": rng.choice(mutate.WORDS)} for i in images
        ]
    columns = {
        "image": pa.array(images, kind),
        "Hat": pa.array([rng.choice(("y", "n", None)) for _ in range(n)], pa.string()),
        "split": pa.array(
            [rng.choice(("train", "validation", "test")) for _ in range(n)], pa.string()
        ),
        rng.choice(("odd", "", "id", "p_x")): pa.array(
            [rng.choice([1.5, float("inf"), None]) for _ in range(n)], pa.float64()
        ),
    }
    out = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        out,
        row_group_size=rng.choice((1, 5)),
        compression=rng.choice(("snappy", "zstd", "none")),
    )
    return mutate.spoil(out.getvalue(), rng) if rng.random() < 0.6 else out.getvalue()


def rows_labelled(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    (path / "a.parquet").write_bytes(parquet(rng))
    column = rng.choice(([], [], ["--column", rng.choice(("image", "Hat", "none"))]))
    out = rng.choice(("out.csv", "folder/"))
    return [["predict", str(kit.model), str(path / "a.parquet"), "--out", f"{path}/{out}", *column]]


def rows_explored(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    (path / "data").mkdir()
    (path / "data" / "train-00000-of-00001.parquet").write_bytes(parquet(rng))
    return [kit.explore(path if rng.random() < 0.5 else path / "data", path)]


def not_files(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    name = path / f"train-0{rng.choice(('.tar', '.tgz', '.parquet'))}"
    if rng.random() < 0.5:
        os.mkfifo(name)
    else:
        name.symlink_to(rng.choice(("/dev/zero", "/dev/random", "/proc/self/mem")))
    if rng.random() < 0.5:
        return [kit.explore(rng.choice((name, path)), path)]
    return [["predict", str(kit.model), str(rng.choice((name, path))), "--out", f"{path}/out.csv"]]


KINDS = {
    "tar-predict": labelled,
    "tar-explore": explored,
    "tar-bomb": squeezed_bombs,
    "parquet-predict": rows_labelled,
    "parquet-explore": rows_explored,
    "not-a-file": not_files,
}
