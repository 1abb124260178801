#!/bin/sh
# Make sure that the browser tests find a Chromium: Debian's where apt-get may be used, Playwright's own elsewhere.
set -eu
venv=${1:?usage: ensure_chromium.sh VENV}

for name in chromium google-chrome; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
"$venv/bin/python" - <<'PYTHON' && exit 0
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    sys.exit(0 if Path(playwright.chromium.executable_path).is_file() else 1)
PYTHON

if command -v apt-get >/dev/null 2>&1; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    echo "installing Chromium for the browser tests ..."
    if { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends chromium; } >"$venv/chromium.log" 2>&1; then
        exit 0
    fi
fi
if "$venv/bin/python" -m playwright install chromium >"$venv/chromium.log" 2>&1; then
    exit 0
fi
echo "Chromium could not be installed ($venv/chromium.log says why); install it and run this again. Without it the browser tests do not run."
[ -z "${CI:-}" ]
