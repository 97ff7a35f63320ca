#!/usr/bin/env bash
# From a fresh Debian 12 or Ubuntu 24.04 to a cited answer: packages, build, two small models, this repository's documents, a question.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh
scripts/fetch_models.sh
corvid=build/release/bin/corvid
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$corvid" ingest README.md ARCHITECTURE.md CONTRIBUTING.md docs --workspace "$work/quickstart.db"
echo
echo "Question: How is a sentence without a citation attributed?"
"$corvid" ask "How is a sentence without a citation attributed?" --workspace "$work/quickstart.db"
