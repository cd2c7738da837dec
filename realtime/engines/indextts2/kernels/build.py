"""Compiles native.c on first use, for the very processor it will run on, into the user's cache.

Why C through ctypes: one source of some 600 lines, no build-time dependency beyond a C compiler, nothing to install, 2.5 s once per
host. numba was weighed and left out: 150 MB of install, seconds of compilation in every worker's start unless cached per host as
well, and no access to the dot-product instructions (vpdpbusd, vdpbf16ps) that most of the speed rests on. A ready-made wheel would
have to pick one instruction set for everybody.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = ("native.c", "pool.h", "vec.h", "gemm.h", "rows.h", "snake.h", "attention.h", "gpt.h")
COMPILERS = ("cc", "gcc", "clang")
# -O3 without -ffast-math: sums must not be reordered (a batch equals its rows alone), NaN must survive to be detected
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-pthread")
COMPILE_LIMIT_S = 180.0
"""Guess: fifty times what it takes on a quiet core."""


NEEDED = ("avx512f", "avx512bw", "avx512_vnni")
"""Without these gcc turns the 64-byte vectors into memory traffic: measured 4 to 7 G products/s on AVX2, where numpy's BLAS does ten times
that. Xeon since Cascade Lake (2019), EPYC since Genoa (2022) have them."""


class CannotBuild(Exception):
    """Raised when the kernels can't be compiled here; the message says why and what to install."""


class CompileFailed(CannotBuild):
    """Raised when there is all that is needed, but the compiler refuses the source."""


def default_cache() -> Path:
    """Where compiled kernels are kept: `~/.cache/realtime/kernels`."""
    return Path.home() / ".cache" / "realtime" / "kernels"


def processor() -> str:
    """What the compiled code depends on: architecture and instruction sets of this machine."""
    flags = ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.lower().startswith(("flags", "features")):
                flags = line
                break
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()} {flags}"


def fingerprint(compiler: str) -> str:
    """Names the build: sources, flags, compiler and processor."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=COMPILE_LIMIT_S).stdout
    digest.update(repr((FLAGS, version, processor())).encode())
    return digest.hexdigest()[:20]


def ensure_built(cache: Path | None = None) -> Path:
    """Path of the shared library, compiled now if it isn't there yet. Raises `CannotBuild`.

    Safe when several workers start at once: each compiles to a name of its own and renames it into place.
    """
    if platform.system() != "Linux":
        raise CannotBuild(f"the kernels wait on futexes, which {platform.system()} does not have")
    flags = processor().split()
    if missing := [name for name in NEEDED if name not in flags]:
        raise CannotBuild(f"the processor has no {missing[0]}; the kernels are written for AVX-512 with VNNI")
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise CannotBuild(f"no C compiler ({', '.join(COMPILERS)}) on PATH; install gcc, for example `apt-get install gcc libc6-dev`")
    folder = cache or default_cache()
    target = folder / f"native-{fingerprint(compiler)}.so"
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _compile(compiler, target)
    except OSError as e:
        raise CannotBuild(f"cannot write compiled kernels to {folder}: {e}") from e
    except subprocess.TimeoutExpired as e:
        raise CannotBuild(f"{compiler} did not finish within {COMPILE_LIMIT_S:.0f} s") from e


def _compile(compiler: str, target: Path) -> Path:
    tune = "-mcpu=native" if platform.machine() in {"aarch64", "arm64"} else "-march=native"
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".so")
    os.close(handle)
    source = Path(__file__).parent / "native.c"
    done = subprocess.run([compiler, *FLAGS, tune, str(source), "-o", name, "-lm"], capture_output=True, text=True, timeout=COMPILE_LIMIT_S)
    if done.returncode != 0:
        Path(name).unlink(missing_ok=True)
        raise CompileFailed(f"{compiler} failed with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    os.replace(name, target)
    return target
