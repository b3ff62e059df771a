#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: wheel.sh FOLDER [PYTHON]
# Builds the wheel of the Python package into FOLDER, without the network. PYTHON has build, meson,
# meson-python, ninja and wheel (tests/requirements-python.txt); by default the one of
# build/venv-python.
# Options for meson come from WHEEL_SETUP, such as -Dwerror=true.
set -eu
cd "$(dirname "$0")/.."
folder=$1
python=$(realpath -s "${2:-build/venv-python/bin/python}")
setup=()
for option in ${WHEEL_SETUP-}; do
    setup+=("--config-setting=setup-args=$option")
done

mkdir -p "$folder" build-python
rm -f "$folder"/hallmark-*.whl
# meson-python finds meson and ninja by PATH.
PATH=$(dirname "$python"):$PATH "$python" -m build --wheel --no-isolation --skip-dependency-check \
    --outdir "$folder" \
    --config-setting=build-dir="$PWD/build-python" "${setup[@]}" >"$folder/build.log" 2>&1 ||
    { cat "$folder/build.log"; exit 1; }
# meson-python names the Python that it ran under, but the extension is built against the limited
# API of 3.9 whichever that is.
"$python" -m wheel tags --remove --python-tag cp39 "$folder"/hallmark-*.whl
