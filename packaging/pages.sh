#!/usr/bin/env bash
# Packs the pages as the program embeds them: packaging/pages.sh
# To be run when a page has changed; tests/it/docs.rs tells.
set -euo pipefail
cd "$(dirname "$0")/.."
gzip -9n <assets/docs.html >assets/packed/docs.html.gz
