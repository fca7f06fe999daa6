#!/usr/bin/env python3
"""The conductor under the path that it had in earlier versions: it is the file one folder above."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# The other files of this folder import the conductor by its name, and find this file first.
sys.modules.pop("symphony_conductor", None)
sys.path.insert(0, ROOT)
import symphony_conductor  # noqa: E402

sys.path.remove(ROOT)

if __name__ == "__main__":
    symphony_conductor.command_line()
