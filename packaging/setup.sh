#!/usr/bin/env bash
# Makes the private environment .venv and installs what is missing; safe to repeat, quick when nothing is missing.
#   setup.sh full         everything that the tests and benchmarks need
#   setup.sh sqlite       what runs the product
#   setup.sh mariadb      … and a MariaDB server;  postgresql: … and a PostgreSQL server
#   setup.sh spark        Java for the Spark test
#   setup.sh packages     what builds the packages and boots them: a venv of its own (.venv-packages), rpm, systemd-nspawn, qemu-user
# Debian packages are installed only where this is root; elsewhere what is missing is named.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-full}
python=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

wanted=()
want() { wanted+=("$@"); }

has gcc || want gcc libc6-dev
has "$python" || want python3
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then want python3-venv; fi
if ! "$python" -c 'import os, sysconfig; raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null; then
  want python3-dev
fi
if [[ $what == full || $what == mariadb ]]; then
  [[ -x /usr/sbin/mariadbd ]] || want mariadb-server
  has mariadb || want mariadb-client
fi
if [[ $what == full || $what == postgresql ]]; then
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || want postgresql
fi
if [[ $what == full ]]; then
  has sysbench || want sysbench
  has chromium || want chromium
  fc-list :lang=zh 2>/dev/null | grep -q . || want fonts-noto-cjk fontconfig
  has prometheus || want prometheus
  has nft || want nftables
  has tc || want iproute2
fi
if [[ $what == spark ]]; then
  has java || want openjdk-17-jre-headless
  [[ -e /usr/share/java/jarjar.jar ]] || want libjarjar-java
  compgen -G '/usr/share/java/sqlite-jdbc*.jar' >/dev/null || want libxerial-sqlite-jdbc-java
fi
if [[ $what == packages ]]; then
  has readelf || want binutils
  has aarch64-linux-gnu-strip || want binutils-aarch64-linux-gnu
  has perl || want perl
  has make || want make
  has patch || want patch
  has xz || want xz-utils
  has tclsh || want tcl
  has gpg || want gnupg
  has rpm || want rpm
  has debootstrap || want debootstrap
  has systemd-nspawn || want systemd-container
  has nsenter || want util-linux
  has ip || want iproute2
  has qemu-aarch64-static || want qemu-user-static
  [[ -e /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 ]] || want libc6-arm64-cross
  [[ -e /usr/aarch64-linux-gnu/lib/libstdc++.so.6 ]] || want libstdc++6-arm64-cross
fi

if ((${#wanted[@]})); then
  if [[ $(id -u) != 0 ]]; then
    say "missing Debian packages: ${wanted[*]}"
    say "run as root: apt-get install -y --no-install-recommends ${wanted[*]}"
    exit 3
  fi
  say "installing ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # the tests start servers of their own: a package must not start one for the whole machine
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
fi

[[ -x .venv/bin/python ]] || { say "making .venv"; "$python" -m venv .venv; }

stamp=.venv/forebay.stamp
now=$(cat requirements/dev.lock */pyproject.toml */setup.py {proto,agent}/forebay_*/kernel/*.py[xd] 2>/dev/null | sha256sum)
if [[ ! -e $stamp || $(<"$stamp") != "$now" ]]; then
  say "installing locked Python packages"
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
  say "building the kernels and installing forebay-wire, forebay-agent, forebay-collector"
  for distribution in proto agent collector; do
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e "$distribution"
  done
  printf '%s' "$now" >"$stamp"
fi

if [[ $what == packages ]]; then
  stamp=.venv-packages/forebay.stamp
  now=$(sha256sum requirements/packages.lock)
  if [[ ! -e $stamp || $(<"$stamp") != "$now" ]]; then
    say "installing what builds the packages"
    "$python" -m venv .venv-packages
    .venv-packages/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/packages.lock
    printf '%s' "$now" >"$stamp"
  fi
fi
