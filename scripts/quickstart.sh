#!/usr/bin/env bash
# From a fresh Debian 12 or Ubuntu 24.04 to a cited answer: packages, build, two small models, a folder of documents, a question.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh
scripts/fetch_models.sh
corvid=build/release/bin/corvid
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$corvid" ingest examples/documents --workspace "$work/quickstart.db"
question="What does a mooring cost?"
echo
echo "Question: $question"
"$corvid" ask "$question" --workspace "$work/quickstart.db"
