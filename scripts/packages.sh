#!/usr/bin/env bash
# Installs what Corvid needs from the system's packages: Debian 12 and Ubuntu 24.04. CORVID_SKIP_PACKAGES=1 leaves the system alone.
set -euo pipefail
[ "${CORVID_SKIP_PACKAGES:-}" = 1 ] && exit 0
command -v apt-get >/dev/null || { echo "packages.sh: this system has no apt-get; install the packages listed in $0 by hand" >&2; exit 1; }

packages="g++ cmake ninja-build ccache git ca-certificates pkg-config xz-utils unzip python3 python3-pip
  libexpected-dev nlohmann-json3-dev libsqlite3-dev libcpp-httplib-dev libssl-dev libutf8proc-dev libgumbo-dev libcli11-dev catch2
  poppler-utils"
# Boost 1.81 or newer: Debian 12's default is older, and its 1.81 excludes the unversioned package.
available() { LC_ALL=C apt-cache policy "$1" | grep -q 'Candidate: [^(]'; }

as_root=""
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
missing() { for p in $1; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"; done; }
have_boost() { dpkg-query -W -f '${Status}\n' libboost1.81-dev libboost1.83-dev 2>/dev/null | grep -q 'ok installed'; }
if [ -n "$(missing "$packages")" ] || ! have_boost; then
  $as_root apt-get update -q
  if available libboost1.81-dev; then packages="$packages libboost1.81-dev"; else packages="$packages libboost1.83-dev"; fi
  # shellcheck disable=SC2086
  $as_root apt-get install -y -q --no-install-recommends $packages
fi
