#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: setup.sh build|test
# Installs what building (or testing too) needs and this machine lacks, and says so. Quiet and quick
# when all is there. Debian and its like only; elsewhere it says what is needed.
set -eu
cd "$(dirname "$0")/.."

# Packages; of alternatives the first that the system has to offer.
build_packages='gcc libc6-dev meson ninja-build pkg-config|pkgconf libssl-dev libyaml-dev
    libblake3-dev|librust-blake3-dev libp11-kit-dev libcurl4-openssl-dev libsqlite3-dev libpq-dev
    ca-certificates python3'
test_packages='python3-venv python3-dev python3-torch python3-numpy openssl clang llvm
    libclang-rt-dev|libclang-rt-14-dev clang-format clang-tidy libcmocka-dev gcovr valgrind
    libc6-dbg strace scdoc git b3sum slurm-wlm munge softhsm2 systemd opensc gnutls-bin sqlite3
    postgresql'

say() { printf 'setup: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        fail "needs root: run as root, or install sudo. Wanted: $*"
    fi
}

installed() { # PACKAGE
    [ "$(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1)" = installed ]
}

offered() { # PACKAGE
    apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'
}

any_installed() { # A|B|...
    for package in $(echo "$1" | tr '|' ' '); do
        if installed "$package"; then return 0; fi
    done
    return 1
}

first_offered() { # A|B|...
    for package in $(echo "$1" | tr '|' ' '); do
        if offered "$package"; then echo "$package"; return 0; fi
    done
    return 1
}

choose() { # the packages to install for the missing entries; fails when one is not to be had
    for entry in $missing; do
        first_offered "$entry" || return 1
    done
}

install_packages() { # ENTRY...
    missing=
    for entry in "$@"; do
        any_installed "$entry" || missing="$missing $entry"
    done
    [ -n "$missing" ] || return 0

    if ! chosen=$(choose); then
        say 'fetching the package lists'
        as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
        chosen=$(choose) || fail "no such package in the package lists:$missing"
    fi
    chosen=$(echo $chosen)
    say "installing $chosen"
    install='apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -y'
    install="$install --no-install-recommends install"
    # Lists that were fetched long ago name files that are gone.
    # shellcheck disable=SC2086
    as_root $install $chosen >/dev/null || {
        as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
        as_root $install $chosen >/dev/null
    }
}

check_without_packages() {
    lacking=
    for tool in cc meson ninja pkg-config; do
        command -v $tool >/dev/null 2>&1 || lacking="$lacking $tool"
    done
    pkg-config --exists 'libcrypto >= 3.0' 2>/dev/null || lacking="$lacking libcrypto>=3.0"
    pkg-config --exists 'yaml-0.1 >= 0.2' 2>/dev/null || lacking="$lacking libyaml"
    pkg-config --exists 'sqlite3 >= 3.37' 2>/dev/null || lacking="$lacking sqlite3>=3.37"
    [ -z "$lacking" ] ||
        fail "this is no Debian; please install:$lacking (and the BLAKE3 C library or its sources)"
}

# The tests' Python packages, in an environment of their own, by Debian's Python.
python_environment() { # FOLDER REQUIREMENTS [OPTION OF venv]
    if cmp -s "$2" "$1/requirements.installed"; then return 0; fi
    python=/usr/bin/python3
    [ -x $python ] || python=python3
    say "installing Python packages into $1: $(sed -n 's/^\([a-zA-Z].*\)/\1/p' "$2" | tr '\n' ' ')"
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    # shellcheck disable=SC2086
    $python -m venv ${3-} "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    cp "$2" "$1/requirements.installed"
}

what=${1-build}
case $what in
build) packages=$build_packages ;;
test) packages="$build_packages $test_packages" ;;
*) fail 'usage: setup.sh build|test' ;;
esac

if command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    install_packages $packages
else
    check_without_packages
fi
if [ "$what" = test ]; then
    python_environment build/venv tests/requirements.txt
    python_environment build/venv-old tests/requirements-old.txt
    python_environment build/venv-oldest tests/requirements-oldest.txt
    python_environment build/venv-cloud tests/requirements-cloud.txt
    python_environment build/venv-python tests/requirements-python.txt
    # torch and numpy are Debian's: those of PyPI are several gigabytes.
    python_environment build/venv-frameworks tests/requirements-frameworks.txt \
        --system-site-packages
fi
