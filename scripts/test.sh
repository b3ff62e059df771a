#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: test.sh [STAGE...]        stages: lint tidy unit cli python asan pyasan tsan valgrind fuzz
#                                coverage
# Without a stage: all but coverage. Results go to build/results; the table at the end adds them up.
# FUZZ_SECONDS: for each fuzz target. WERROR=true: warnings are errors (so in CI).
set -u
cd "$(dirname "$0")/.."

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(lint tidy unit cli python asan pyasan tsan valgrind fuzz)
results=$PWD/build/results
python=build/venv/bin/python
werror=${WERROR:-${CI:-false}}
jobs=$(nproc)
mkdir -p "$results"

# Records one result that no test runner wrote down.
record() { # STAGE NAME passed|failed|skipped
    printf '%s\t%s\n' "$2" "$3" >>"$results/$1.tsv"
    [ "$3" != failed ] || printf 'FAILED: %s: %s\n' "$1" "$2"
}

# Configures a build folder, whether it is there or not, and builds what tests need, or one target.
build() { # FOLDER [TARGET] OPTION...
    local folder=$1 target=
    shift
    case $1 in -*) ;; *) target=$1 && shift ;; esac
    local how=(--reconfigure)
    [ -e "$folder/build.ninja" ] || how=()
    meson setup "$folder" "${how[@]}" -Dtests=enabled -Dwerror="$werror" "$@" \
        >"$results/setup.log" 2>&1 || { cat "$results/setup.log"; return 1; }
    ninja -C "$folder" --quiet ${target:+"$target"}
}

meson_tests() { # STAGE FOLDER ARGUMENT...
    local stage=$1 folder=$2 status=0
    shift 2
    rm -f "$folder"/meson-logs/testlog*.junit.xml
    meson test -C "$folder" --num-processes "$jobs" --print-errorlogs "$@" || status=$?
    cat "$folder"/meson-logs/testlog*.junit.xml >"$results/$stage-meson.xml" 2>/dev/null
    [ -s "$results/$stage-meson.xml" ] || record "$stage" 'meson test' failed
    return $status
}

py_tests() { # STAGE BINARY ARGUMENT...
    local stage=$1 binary=$2 status=0
    shift 2
    HALLMARK_BIN=$binary $python -m pytest -c tests/pytest.ini -q -n "$jobs" \
        --junit-xml "$results/$stage-pytest.xml" --ignore tests/python tests "$@" || status=$?
    # 1 is "some failed", which the XML says; the others are no result at all.
    [ $status -le 1 ] || record "$stage" "pytest ended with status $status" failed
    return $status
}

sanitizer_build() { # FOLDER SANITIZERS
    CC=clang build "$1" --buildtype=debugoptimized -Db_sanitize="$2" -Db_lundef=false
}

stage_lint() {
    scripts/lint.sh "$results/lint.tsv"
}

stage_tidy() {
    build build --buildtype=release || { record tidy build failed; return; }
    scripts/tidy.sh build "$results/tidy.tsv"
}

stage_unit() {
    build build --buildtype=release || { record unit build failed; return; }
    meson_tests unit build
}

stage_cli() {
    build build --buildtype=release || { record cli build failed; return; }
    py_tests cli build/hallmark
}

wheel_tests() { # NAME VENV ARGUMENT...
    local name=$1 venv=$2 status=0
    shift 2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-index --no-deps \
        --force-reinstall build/wheel/hallmark-*.whl ||
        { record python "the wheel is installed into $venv" failed; return; }
    HALLMARK_BIN=build/hallmark "$venv/bin/python" -m pytest -c tests/pytest.ini -q -n "$jobs" \
        --junit-xml "$results/$name-pytest.xml" "$@" || status=$?
    [ $status -le 1 ] || record python "pytest ended with status $status" failed
}

# The wheel is built, installed into environments that never see the sources, and tested there: one
# with nothing else to import, and one with the frameworks.
stage_python() {
    local venv=build/venv-python
    build build --buildtype=release || { record python build failed; return; }
    WHEEL_SETUP="-Dwerror=$werror" scripts/wheel.sh build/wheel "$venv/bin/python" ||
        { record python 'the wheel is built' failed; return; }
    scripts/tidy.sh build-python "$results/python.tsv" python/core/*.c
    wheel_tests python "$venv" --ignore tests/python/frameworks tests/python
    wheel_tests python-frameworks build/venv-frameworks tests/python/frameworks
}

stage_asan() {
    sanitizer_build build-asan address,undefined || { record asan build failed; return; }
    export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
    meson_tests asan build-asan --timeout-multiplier 4
    HALLMARK_SANITIZER=asan py_tests asan build-asan/hallmark
}

# The extension for Python with the library inside, for gcc's runtime: that one can be preloaded
# into Debian's Python.
extension_build() {
    local PATH=$PWD/build/venv-python/bin:$PATH
    build build-pyasan python/_core.abi3.so --buildtype=debugoptimized -Dpython=enabled \
        -Dtests=disabled -Dman=disabled -Db_sanitize=address,undefined || return 1
    rm -rf build-pyasan/site
    DESTDIR=$PWD/build-pyasan/site meson install -C build-pyasan --no-rebuild --quiet \
        --tags python-runtime
}

extension_tests() { # NAME VENV ARGUMENT...
    local name=$1 python=$2/bin/python status=0
    shift 2
    local from='import hallmark, sys; sys.exit("/build-pyasan/" not in hallmark._core.__file__)'
    "$python" -c "$from" || { record pyasan "$name: the extension is another" failed; return; }
    "$python" -m pytest -c tests/pytest.ini -q -n "$jobs" \
        --junit-xml "$results/pyasan-$name-pytest.xml" "$@" || status=$?
    [ $status -le 1 ] || record pyasan "$name: pytest ended with status $status" failed
}

# The package as in the stage python, but for what concerns the wheel and needs no extension.
stage_pyasan() {
    build build --buildtype=release || { record pyasan build failed; return; }
    CC=gcc extension_build || { record pyasan 'the extension is built' failed; return; }
    local log=$results/pyasan-report frameworks=tests/python/frameworks
    rm -f "$log".*
    PYTHONPATH=$(dirname "$(dirname "$(find "$PWD/build-pyasan/site" -name _core.abi3.so)")")
    LD_PRELOAD=$(gcc -print-file-name=libasan.so)
    # The interpreter ends without having freed everything.
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$log
    UBSAN_OPTIONS=print_stacktrace=1:log_path=$log
    export PYTHONPATH LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS PYTHONMALLOC=malloc
    export PYTHONDONTWRITEBYTECODE=1 HALLMARK_BIN=build/hallmark HALLMARK_SANITIZER=asan
    extension_tests package build/venv-python --ignore $frameworks \
        --ignore tests/python/test_package.py tests/python
    extension_tests frameworks build/venv-frameworks \
        $frameworks/test_{attacks,model,weights}.py
    unset LD_PRELOAD
    # Whatever became of the process that complained: of a worker, a child, a call that may fail.
    local report
    for report in "$log".*; do
        [ -e "$report" ] || continue
        cat "$report"
        record pyasan "${report##*/}" failed
    done
}

stage_tsan() {
    sanitizer_build build-tsan thread || { record tsan build failed; return; }
    export TSAN_OPTIONS=halt_on_error=1
    meson_tests tsan build-tsan --timeout-multiplier 8
    # Of the program's tests those in which several threads work, or stop working.
    local threaded='test_smoke or test_sign or test_verify or test_both or test_parts'
    threaded+=' or test_reuse or test_attacks or test_hostile'
    HALLMARK_SANITIZER=tsan py_tests tsan build-tsan/hallmark -k "$threaded" --ignore tests/faults
}

stage_valgrind() {
    build build --buildtype=release || { record valgrind build failed; return; }
    local wrapper='valgrind --quiet --error-exitcode=99 --leak-check=full'
    wrapper+=' --errors-for-leak-kinds=definite'
    # Four take minutes under valgrind, and a shell script has nothing to show.
    local names
    names=$(meson test -C build --list --suite unit 2>/dev/null |
        sed -n 's/^hallmark:unit \/ //p' | grep -vxE 'digest|digest_parts|key|symbols|view_attacks')
    # shellcheck disable=SC2086
    meson_tests valgrind build --wrap "$wrapper" --timeout-multiplier 20 $names
    HALLMARK_WRAPPER=$wrapper py_tests valgrind build/hallmark -m smoke --ignore tests/faults
}

fuzz_one() { # NAME
    local corpus=build-fuzz/corpus/$1 seeds=tests/fuzz/corpus/$1
    mkdir -p "$corpus" "build-fuzz/crashes"
    [ -d "$seeds" ] || seeds=
    local words=tests/fuzz/$1.dict
    [ -e "$words" ] || words=tests/fuzz/json.dict
    build-fuzz/tests/fuzz/fuzz_"$1" -dict="$words" -max_total_time="${FUZZ_SECONDS:-10}" \
        -timeout=25 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 \
        -artifact_prefix="build-fuzz/crashes/$1-" "$corpus" $seeds
}

stage_fuzz() {
    CC=clang build build-fuzz --buildtype=debugoptimized -Dfuzz=true -Db_lundef=false ||
        { record fuzz build failed; return; }
    local target name found=false
    for target in build-fuzz/tests/fuzz/fuzz_*; do
        [ -f "$target" ] && [ -x "$target" ] || continue
        found=true
        name=${target##*/fuzz_}
        echo "fuzzing $name for ${FUZZ_SECONDS:-10} s"
        if fuzz_one "$name" >"$results/fuzz-$name.log" 2>&1; then
            record fuzz "$name" passed
        else
            tail -n 60 "$results/fuzz-$name.log"
            record fuzz "$name" failed
        fi
    done
    $found || record fuzz 'no fuzz target was built' failed
}

stage_coverage() {
    build build-coverage --buildtype=debug -Db_coverage=true ||
        { record coverage build failed; return; }
    find build-coverage -name '*.gcda' -delete
    meson_tests coverage build-coverage
    # Not the fault tests: what they make fail would hit the counting itself.
    py_tests coverage build-coverage/hallmark --ignore tests/faults
    mkdir -p build-coverage/html
    gcovr --root . --object-directory build-coverage --filter src/ --filter cli/ \
        --gcov-ignore-parse-errors --print-summary \
        --html-details build-coverage/html/index.html --txt build-coverage/coverage.txt
    cat build-coverage/coverage.txt
    echo "which lines: build-coverage/html/index.html"
}

for stage in "${stages[@]}"; do
    if ! declare -F "stage_$stage" >/dev/null; then
        echo "test.sh: no stage '$stage'" >&2
        exit 2
    fi
done
rm -f "$results"/*.xml "$results"/*.tsv
for stage in "${stages[@]}"; do
    printf '\n==== %s\n' "$stage"
    started=$SECONDS
    (stage_"$stage") # a subshell: exports stay inside
    echo "$stage took $((SECONDS - started)) s"
done
echo
exec $python scripts/results.py "$results" "${stages[@]}"
