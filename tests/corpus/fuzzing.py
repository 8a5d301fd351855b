"""Reads bent files as the collect stage does, one after the other, and says of each how it ended.

``python -m tests.corpus.fuzzing FOLDER FIRST``: a line of JSON per file, so that it is known which one it died of.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from ropewalk.contracts.errors import RopewalkError
from ropewalk.kernel.child import limit_memory
from ropewalk.testing.bench import TaskBench

MEMORY = 256 << 20
COLUMNS = {"n": "integer", "word": "string", "at": "timestamp"}
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x01\0\0\0")


def bent(data: bytes, chance: random.Random, end: int) -> bytes:
    """The data with one thing wrong before ``end``: a bit, a byte, a number, a piece that is gone, doubled or moved."""
    at, size = chance.randrange(end), chance.randint(1, 32)
    changed = bytearray(data)
    match chance.randrange(7):
        case 0:
            changed[at] ^= 1 << chance.randrange(8)
        case 1:
            changed[at] = chance.randrange(256)
        case 2:
            changed[at : at + 4] = chance.choice(EXTREMES)
        case 3:
            del changed[at : at + size]
        case 4:
            changed[at:at] = changed[at : at + size]
        case 5:
            other = chance.randrange(end)
            changed[at : at + size] = changed[other : other + size]
        case _:
            del changed[at:]
    return bytes(changed)


def read(bench: TaskBench, path: Path) -> dict[str, object]:
    """How reading a file ended: its error's code, or whether its rows are those that it had."""
    options = {"path": f"data://{path.name}", "columns": COLUMNS}
    try:
        report = bench.run("collect", [("files", options)])
    except RopewalkError as error:
        return {"code": error.code, "said": str(error)[:300]}
    told = bench.table(report)
    rows = report.rows
    return {
        "digest": report.outputs["data"].fingerprint,
        "rows": told.num_rows,
        "explained": rows.read == rows.out + rows.quarantined + sum(rows.dropped.values()),
        "aside": rows.quarantined,
    }


def main(folder: Path, first: int) -> None:
    """Read the files from a number on."""
    os.environ["ROPEWALK_ROOT_DATA"] = str(folder / "bent")
    limit_memory(MEMORY)
    bench = TaskBench(folder, memory_limit=MEMORY, max_unpacked=MEMORY)
    for path in sorted((folder / "bent").iterdir())[first:]:
        sys.stdout.write(json.dumps(read(bench, path)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
