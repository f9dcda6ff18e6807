"""Run the suite as other machines would: other instructions, threads, orders, users, versions.

Each run sets several things at once, so that a few of them cover all; a failure is then narrowed
down by hand. Arguments are handed on to pytest, after the names of the runs, if any. Run::

    make test-portability
    .venv/bin/python tests/portability.py "oldest instructions" -k onnx
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Run(NamedTuple):
    """Environment variables and arguments of pytest; whether somebody else runs it, and where."""

    environment: dict[str, str]
    arguments: tuple[str, ...]
    is_stranger: bool = False
    home: str | None = None
    python: str = sys.executable


RUNS = {
    "oldest instructions": Run(
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "SKLEARN_AE_ORDER": "reversed",
        },
        ("-n", "2"),
        is_stranger=True,
        home="missing",
    ),
    "avx2, two threads": Run(
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OMP_NUM_THREADS": "2",
            "OMP_WAIT_POLICY": "passive",  # cores may have other work
            "PYTHONHASHSEED": "1",
            "SKLEARN_AE_ORDER": "1",
            "LC_ALL": "tr_TR.UTF-8",
            "TZ": "Asia/Kathmandu",
        },
        ("-n", "1"),
    ),
    "three threads, one process": Run(
        {
            "OMP_NUM_THREADS": "3",
            "OMP_WAIT_POLICY": "passive",
            "PYTHONHASHSEED": "2",
            "LC_ALL": "C",
            "TZ": "America/St_Johns",
        },
        ("-n", "0"),
        is_stranger=True,
        home="read-only",
    ),
    "pre-releases": Run(
        {"SKLEARN_AE_ORDER": "2"}, ("-n", "2"), python=str(ROOT / ".venv-pre/bin/python")
    ),
}


def main() -> None:
    """Run those that are named, or all."""
    names = [name for name in sys.argv[1:] if name in RUNS]
    rest = [argument for argument in sys.argv[1:] if argument not in RUNS]
    failed = [name for name in names or RUNS if not passes(name, RUNS[name], rest)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def passes(name: str, run: Run, rest: list[str]) -> bool:
    """Start pytest and say whether all tests passed."""
    print(f"== {name}", flush=True)
    if not Path(run.python).exists():
        print("   not there: make .venv-pre/installed")
        return False
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        environment = os.environ | {"TMPDIR": str(scratch / "tmp")} | run.environment
        (scratch / "tmp").mkdir()
        environment |= home(scratch, run.home)
        command = [run.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        somebody = stranger(scratch) if run.is_stranger and os.geteuid() == 0 else {}
        done = subprocess.run(
            [*command, *run.arguments, *rest], cwd=ROOT, env=environment, check=False, **somebody
        )
    return done.returncode == 0


def home(scratch: Path, kind: str | None) -> dict[str, str]:
    """Return the variables that name a home that is missing, or that cannot be written to."""
    if kind is None:
        return {}
    place = scratch / "home"
    if kind == "read-only":
        place.mkdir(mode=0o555)
    # Where no home is, caches that must lie somewhere lie in the temporary folder.
    return {"HOME": str(place), "MPLCONFIGDIR": str(scratch / "tmp" / "matplotlib")}


def stranger(scratch: Path) -> dict[str, int | list[int]]:
    """Return who runs the tests if root starts them: nobody, with a folder for what is passing."""
    nobody = pwd.getpwnam("nobody")
    scratch.chmod(0o755)
    os.chown(scratch / "tmp", nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


if __name__ == "__main__":
    main()
