#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: newer-frameworks.sh FOLDER [ARGUMENT OF pytest...]
# Runs tests/python/frameworks with a torch, a numpy and a Python that are newer than the system's:
# those of Debian 13, in a tree of its own below FOLDER, where the current transformers comes from
# PyPI. Tested are the wheel and the program that `make python` leaves in build/.
# Needs root and debootstrap, 2 GB of disk, the network, and some minutes for the first time; then
# the tree is used again. To be rid of it remove FOLDER: mounts end with this script.
set -eu
cd "$(dirname "$0")/.."
usage='usage: newer-frameworks.sh FOLDER [ARGUMENT OF pytest...]'
mkdir -p "${1:?$usage}"
root=$(realpath "$1")/root
shift
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
requirements=tests/requirements-frameworks-new.txt
packages='python3-torch python3-numpy python3-venv gcc libc6-dev strace openssl ca-certificates
    libyaml-0-2 libp11-kit0'

fail() { printf 'newer-frameworks: %s\n' "$*" >&2; exit 1; }

# In namespaces of its own, of mounts and of processes: nothing stays behind.
inside() { # COMMAND [ARGUMENT...]
    unshare --mount --pid --fork --propagation private sh -eu -c '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --bind "$PWD" "$root/hallmark"
        exec chroot "$root" env -i -C /hallmark PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PIP_CERT=/host-certificates.crt \
            PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 \
            HALLMARK_BIN=build/hallmark "$@"' sh "$root" "$@"
}

[ "$(id -u)" -eq 0 ] || fail 'needs root'
command -v debootstrap >/dev/null || fail 'needs debootstrap: apt-get install debootstrap'
for file in build/hallmark build/wheel/hallmark-*.whl; do
    [ -e "$file" ] || fail "$file is missing: run make python first"
done

if [ ! -e "$root/made" ]; then
    rm -rf --one-file-system "$root"
    unshare --mount --propagation private \
        debootstrap --variant=minbase trixie "$root" "$mirror"
    mkdir -p "$root/hallmark"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # Those of this machine: it may have to go through a proxy that has one of its own.
    cp /etc/ssl/certs/ca-certificates.crt "$root/host-certificates.crt"
    inside apt-get -qq update
    # shellcheck disable=SC2086
    inside apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install $packages
    inside python3 -m venv --system-site-packages /venv
    touch "$root/made"
fi
if ! cmp -s $requirements "$root/requirements.installed"; then
    inside /venv/bin/pip install --quiet -r $requirements
    cp $requirements "$root/requirements.installed"
fi
inside /venv/bin/pip install --quiet --no-index --no-deps --force-reinstall \
    build/wheel/hallmark-*.whl
inside /venv/bin/python -c 'import sys, torch, numpy, safetensors, transformers as t
print("Python", sys.version.split()[0], "torch", torch.__version__, "numpy", numpy.__version__,
      "safetensors", safetensors.__version__, "transformers", t.__version__)'
[ $# -gt 0 ] || set -- tests/python/frameworks
inside /venv/bin/python -m pytest -c tests/pytest.ini -q -n "$(nproc)" "$@"
