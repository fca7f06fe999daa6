#!/bin/sh
# Runs inventory.py, with all options, under the first Python that is new enough.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

for python in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 \
    python3.7 python3.6 /usr/libexec/platform-python python; do
    [ -n "$python" ] || continue
    if "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1; then
        exec "$python" "$here/inventory.py" "$@"
    fi
done
echo "comprehensive_inventory.sh: Python 3.6 or newer is required, but none was found on PATH; install python3" >&2
exit 69
