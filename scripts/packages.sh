#!/usr/bin/env bash
# Installs what Corvid needs from the system's packages: Debian 12 and Ubuntu 24.04. CORVID_SKIP_PACKAGES=1 leaves the system alone.
# With the argument "fuzz", clang and its libFuzzer too.
set -euo pipefail
[ "${CORVID_SKIP_PACKAGES:-}" = 1 ] && exit 0
command -v apt-get >/dev/null || { echo "packages.sh: this system has no apt-get; install the packages listed in $0 by hand" >&2; exit 1; }

packages="g++ cmake ninja-build ccache git ca-certificates pkg-config xz-utils unzip python3 python3-pip
  libexpected-dev nlohmann-json3-dev libsqlite3-dev libcpp-httplib-dev libssl-dev libutf8proc-dev libgumbo-dev libyaml-cpp-dev libpq-dev libcli11-dev catch2
  poppler-utils postgresql"
as_root=""
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
# No pipes into "grep -q" here: it stops reading at a match, and under pipefail the writer's SIGPIPE then reads as "no match".
installed() { case "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" in *"ok installed") return 0 ;; *) return 1 ;; esac; }
missing() { for p in $1; do installed "$p" || echo "$p"; done; }
# Boost 1.81 or newer: Debian 12's default is older; Ubuntu 24.04 knows the name of 1.81 but has no such package.
have_boost() { installed libboost1.81-dev || installed libboost1.83-dev; }
can_install() { apt-get install -s -q "$1" >/dev/null 2>&1; }
# libFuzzer's package has clang's version in its name, which is known once clang's own is.
have_fuzzer() { [ -n "$(ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a 2>/dev/null)" ]; }
wanted=$packages
if [ "${1:-}" = fuzz ]; then wanted="$packages clang"; fi
if [ -n "$(missing "$wanted")" ] || ! have_boost || { [ "${1:-}" = fuzz ] && ! have_fuzzer; }; then
  $as_root apt-get update -q
  if ! have_boost; then
    if can_install libboost1.81-dev; then packages="$packages libboost1.81-dev"; else packages="$packages libboost1.83-dev"; fi
  fi
  # Tests start PostgreSQL's programs themselves: where it comes only for them, there shall be no cluster and no service.
  if ! installed postgresql-common && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $as_root mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  # shellcheck disable=SC2086
  $as_root apt-get install -y -q --no-install-recommends $packages
  if [ "${1:-}" = fuzz ]; then
    $as_root apt-get install -y -q --no-install-recommends clang
    $as_root apt-get install -y -q --no-install-recommends "libclang-rt-$(clang -dumpversion | sed 's/\..*//')-dev"
  fi
fi
