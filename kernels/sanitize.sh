#!/bin/sh
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer beside the normal one
# (in build/sanitize) and runs the kernel tests against it. PYTHON names the interpreter to use.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
target=build/sanitize
mkdir -p "$target/tamis_kernels"
cp kernels/tamis_kernels/*.py "$target/tamis_kernels/"

# any finding ends the run
CXXFLAGS="-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" \
LDFLAGS="-fsanitize=address,undefined" \
    "$python" setup.py -q build_ext --build-lib "$target" --build-temp "$target/objects"

if ! grep -q __asan_report "$target"/tamis_kernels/_native*.so; then
    echo "sanitize: the extension in $target is not instrumented" >&2
    exit 1
fi

# Python leaves memory to the end of the process: leaks are not looked for. A report goes to the
# descriptor that pytest would otherwise capture and lose.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH="$target" \
    "$python" -m pytest -q --capture=sys -p no:cacheprovider tests/kernels
