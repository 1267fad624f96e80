"""`python -m tests.fuzzing_guided TARGET SECONDS`: as `tests.fuzzing`, but what reaches new code is kept and changed
further (atheris). `make fuzz` runs it for each target where atheris installs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["airflow_mlsec"]):
    from airflow_mlsec.errors import MlsecError
    from tests.fuzzing import PIECES, targets


def main(name: str, seconds: int) -> None:
    folder = Path(tempfile.mkdtemp())
    valid, work = targets(folder)[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(valid)
    words = folder / "dictionary"
    escaped = ("".join(f"\\x{byte:02x}" for byte in piece) for piece in PIECES)
    words.write_text("".join(f'"{piece}"\n' for piece in escaped))

    def once(data: bytes) -> None:
        try:
            work(data)
        except MlsecError:
            return

    options = [f"-max_total_time={seconds}", f"-max_len={4 * len(valid)}", f"-dict={words}"]
    atheris.Setup([sys.argv[0], str(corpus), *options, "-print_final_stats=1"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
