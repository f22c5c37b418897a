"""The audit of a folder of Parquet tables: rows per second, and the most memory it takes.

    python bench/audit_scale.py make FOLDER ROWS    synthetic rows × 40 attributes, 1 M rows a table
    python bench/audit_scale.py audit FOLDER        one audit in this process
    python bench/audit_scale.py [ROWS …]            both for each number of rows, one process each

Every person has 4 images on average, spread over all tables. Attributes are yes or no; of those
annotated a00: yes 8% are mistaken, of the others 5%.

Measured on 2026-11-24 on one core of an AMD EPYC that was shared with other work, so seconds of the
processor count and not those of the clock; the planted group was the first finding each time:

      1,000,000 rows   12 MiB on disk   11.2 s of a processor    607 MiB at most
      3,000,000 rows   37 MiB on disk   16.2 s of a processor    926 MiB at most
     10,000,000 rows  123 MiB on disk   32.9 s of a processor    944 MiB at most
    100,000,000 rows  1.2 GiB on disk  260.3 s of a processor    959 MiB at most

Linear in the rows: about 400,000 rows per second of a processor, beside 9 s at the end whatever the
rows.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ATTRIBUTES = 40
TABLE = 1_000_000


def make(folder: Path, rows: int) -> None:
    """Tables of a stranger: person, gender, p_Male, a00 … a39."""
    folder.mkdir(parents=True, exist_ok=True)
    shares = np.random.default_rng(7).uniform(0.05, 0.95, ATTRIBUTES)
    people = max(rows // 4, 1)
    for k, start in enumerate(range(0, rows, TABLE)):
        n = min(TABLE, rows - start)
        rng = np.random.default_rng([1, k])
        person = rng.integers(0, people, n)
        # The same person has the same label wherever their images lie.
        label = ((person * 2654435761) % 1000 < 420).astype(np.int8)
        columns = {"person": pa.array(person)}
        columns["gender"] = words(label, ("Female", "Male"))
        codes = [(rng.random(n, np.float32) < s).astype(np.int8) for s in shares]
        wrong = rng.random(n, np.float32) < np.where(codes[0] == 1, 0.08, 0.05)
        sure = 0.5 + 0.5 * rng.random(n, np.float32)
        columns["p_Male"] = pa.array(np.where((label == 1) ^ wrong, sure, 1 - sure))
        for i, code in enumerate(codes):
            columns[f"a{i:02d}"] = words(code, ("no", "yes"))
        pq.write_table(pa.table(columns), folder / f"{k:04d}.parquet", compression="zstd")


def words(codes: NDArray[Any], values: Sequence[str]) -> pa.Array:
    """Codes as a column of words."""
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values))


def audit(folder: Path) -> dict[str, Any]:
    """Rows, seconds, the most memory of this process, and whether the planted group came first."""
    from candid.pipeline.summing import audit_folder
    from candid.predictions.choosing import Columns
    from candid.settings import AuditConfig

    columns = Columns(label="gender", prediction=("p_Male",), person="person")
    start = time.perf_counter()
    found = audit_folder(folder, columns, AuditConfig()).audit
    seconds = time.perf_counter() - start
    split = found.splits[0]
    first = split.findings[0].conditions[0] if split.findings else None
    return {
        "rows": split.n,
        "seconds": seconds,
        "processor": time.process_time(),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "found": len(split.findings),
        "first": None if first is None else f"{first.attribute}: {first.value}",
    }


def main(sizes: Sequence[int]) -> None:
    """One line per size."""
    for rows in sizes:
        folder = Path(tempfile.mkdtemp())
        try:
            make(folder, rows)
            size = sum(f.stat().st_size for f in folder.iterdir()) / 2**20
            said = subprocess.run(
                [sys.executable, __file__, "audit", str(folder)], capture_output=True, check=True
            )
        finally:
            shutil.rmtree(folder)
        r = json.loads(said.stdout)
        print(
            f"{r['rows']:>11,} rows, {size:,.0f} MiB on disk: {r['seconds']:.1f} s "
            f"({r['processor']:.1f} s of a processor), {r['rows'] / r['seconds']:,.0f} rows/s, "
            f"{r['memory']:,.0f} MiB at most; {r['found']} findings, the first {r['first']}",
            flush=True,
        )


if __name__ == "__main__":
    what = sys.argv[1:] or ["1000000", "3000000", "10000000"]
    if what[0] == "make":
        make(Path(what[1]), int(what[2]))
    elif what[0] == "audit":
        print(json.dumps(audit(Path(what[1]))))
    else:
        main([int(x) for x in what])
