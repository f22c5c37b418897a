"""Tables that Candid writes: safe in a spreadsheet, and read back as they were."""

import csv
import io
import subprocess
import sys

import pytest

from candid.tables.delimited import CsvWriter, read_table

NAMES = ("id", "prediction", "abstained", "reason", "error")
FORMULAS = ("=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x")
PLAIN = ("a", "-1", "+2.5", "'a", "a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "", "a=b", "é")


def written(*cells: object, names: tuple[str, ...] = NAMES) -> str:
    file = io.StringIO(newline="")
    rows = CsvWriter(file)
    rows.row(names)
    for cell in cells:
        rows.row([f"x{cell}", cell, False, None, 1.5])
    return file.getvalue()


def test_no_cell_of_text_begins_like_a_formula():
    rows = list(csv.reader(io.StringIO(written(*FORMULAS, -3, -2.5), newline="")))
    assert [row[1] for row in rows[1:]] == [*("'" + f for f in FORMULAS), "-3", "-2.5"]
    assert rows[1][2:] == ["false", "", "1.5"]


def test_it_reads_back_as_it_was(tmp_path):
    (tmp_path / "a.csv").write_bytes(written(*FORMULAS, *PLAIN).encode())
    found = read_table(tmp_path / "a.csv")["prediction"].to_pylist()
    assert [word or "" for word in found] == [*FORMULAS, *PLAIN]


def test_any_csv_reader_finds_the_same_rows():
    """A carriage return in a name ended the row for most of them."""
    text = written(*PLAIN)
    assert [row[1] for row in csv.reader(io.StringIO(text, newline=""))][1:] == list(PLAIN)
    assert text.count('"a\rb"') == 1 and '\r\n"' not in text.replace("a\r\nb", "")


def test_a_strangers_apostrophes_stay(tmp_path):
    (tmp_path / "a.csv").write_text("id,label\n'=1,'=2\n")
    assert read_table(tmp_path / "a.csv")["id"].to_pylist() == ["'=1"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_what_is_no_regular_file_is_refused(tmp_path, ending):
    """A link to /dev/zero was read without end, a pipe waited for a writer."""
    import os

    from candid.errors import DataError

    (tmp_path / f"zero.{ending}").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / f"pipe.{ending}")
    for name in ("zero", "pipe"):
        with pytest.raises(DataError, match="not a regular file"):
            read_table(tmp_path / f"{name}.{ending}")


def test_a_process_that_ends_soon_after_reading_ends_well(tmp_path):
    """One of Arrow's threads, letting go of Python's bytes, aborted it (exit code 134).

    The interval keeps that thread from taking its turn before the interpreter ends.
    """
    (tmp_path / "a.csv").write_text("id,label\n" + "x,y\n" * 1000)
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from candid.tables.delimited import read_table\n"
        "sys.setswitchinterval(0.5)\nread_table(Path(sys.argv[1]))\n"
        "end = time.perf_counter() + 0.2\nwhile time.perf_counter() < end: pass\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.csv")]
    done = [subprocess.run(command, capture_output=True, timeout=120) for _ in range(4)]
    assert [d.returncode for d in done] == [0] * 4, done
