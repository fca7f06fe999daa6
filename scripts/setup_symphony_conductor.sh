#!/bin/sh
# The name under which the set-up was known; it is ./setup.sh now.
exec "$(dirname -- "$0")/../setup.sh" "$@"
