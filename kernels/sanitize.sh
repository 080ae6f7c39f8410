#!/bin/sh
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer beside the normal one
# (in build/sanitize) and runs the kernel tests against it. PYTHON names the interpreter to use.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
target=build/sanitize
mkdir -p "$target/tamis_kernels"
cp kernels/tamis_kernels/*.py "$target/tamis_kernels/"

# -O1 shows whole frames and compiles fast; any finding ends the run
CFLAGS="-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" \
LDFLAGS="-fsanitize=address,undefined" TAMIS_KERNELS_OPTIMIZE=-O1 \
    "$python" setup.py -q build_ext --build-lib "$target" --build-temp "$target/objects"

# hypothesis and pytest leave memory to the end of the process: leaks are not looked for
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$target" \
    "$python" -m pytest -q -p no:cacheprovider tests/kernels
