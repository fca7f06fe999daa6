#!/usr/bin/env python3
"""Trees whose files are labelled, and what clean-ups take of them: python3 tests/trees.py

Each tree is made of real files, with ages, as a careful person would find them in a checkout of a
year or in the home of a server. Every file has a label: rubbish, which that person would remove
without a second thought; treasure, which must stay; doubtful, which one would ask about first.
Whatever git tracks is treasure. The labels say what people mean, not what a rule can tell.

Prints what the shipped rules take, by rule and by label, and beside it what other programs would
take of the same trees: `git clean -ndX` (all that git ignores), pyclean and rmlint, as far as they
are installed.

    --pyclean FILE   the program, if it is not on the PATH
    --missed         list the rubbish that stays as well, with the reasons
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), name) for name in ("scripts", ".")]

from cleanup_plan import Evidence, make_plan  # noqa: E402
from cleanup_rules import RULES_NAME, build_rules  # noqa: E402
from common import sc  # noqa: E402
from inventory import Inventory  # noqa: E402
from tree import Root, stored_path  # noqa: E402

DAY = 86400
# The ctime of a file cannot be set. It is now; so the plan is made as of a day that is to come, and
# the files got their mtimes for that day.
AHEAD = 1000 * DAY
RUBBISH, TREASURE, DOUBTFUL = LABELS = ("rubbish", "treasure", "doubtful")
LETTERS = {"R": RUBBISH, "T": TREASURE, "D": DOUBTFUL, "t": TREASURE}  # t: tracked by git

SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n"
CONTENT = {
    "core": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00\x3e\x00" + bytes(30000),
    "program": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" + bytes(9000),
    "go": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(200)
          + b"\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0abc" + bytes(9000),
    "mbox": b"From alice@example.org Mon Jan  1 09:00:00 2024\nSubject: core values\n\nHello.\n",
    "swap": b"b0VIM 8.2\0" + bytes(4000),
    "appledouble": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(200),
    "hprof": b"JAVA PROFILE 1.0.2\0" + bytes(20000),
    "tag": SIGNATURE.encode(),
    "cargo-tag": (SIGNATURE + "# This file is a cache directory tag created by cargo.\n").encode(),
    "pytest-tag": (SIGNATURE + "# This file is a cache directory tag created by pytest.\n").encode(),
    "venv-tag": (SIGNATURE
                 + "# This file is a cache directory tag created by Python virtualenv.\n").encode(),
    "font-tag": (SIGNATURE
                 + "# This file is a cache directory tag created by fontconfig.\n").encode(),
    "no-tag": b"This folder is called a cache. It holds the only copy.\n",
    "nightly": b"#!/bin/sh\n./measure > results.tmp && mv results.tmp results.csv\n",
}

# Columns: label, age in days, what is in it (bytes, or a name of CONTENT), path. A path "A -> B" is
# a symlink, "A = B" a hard link to a file above.

PYTHON = """
t 400 300 .gitignore
t 400 900 pyproject.toml
t 400 100 tox.ini
t 400 100 noxfile.py
t 100 500 README.md
t 300 10 src/shop/__init__.py
t 20 3000 src/shop/cart.py
t 90 2000 src/shop/main.py
t 300 2000 src/shop/tokens.py
t 300 600 src/shop/migrations/0001_initial.py
t 60 900 tests/test_cart.py
t 100 800 docs/index.md
t 300 nightly scripts/nightly.sh
t 2 700 scripts/report.py
t 30 4000 notebooks/analysis.ipynb
t 300 100 tools/gen/setup.py
t 300 400 tools/gen/gen/core.py
t 300 100 web/pyproject.toml
R 200 4000 src/shop/__pycache__/__init__.cpython-311.pyc
R 200 9000 src/shop/__pycache__/cart.cpython-311.pyc
R 200 9000 src/shop/__pycache__/main.cpython-311.pyc
R 200 9000 src/shop/__pycache__/tokens.cpython-311.pyc
R 400 9000 src/shop/__pycache__/renamed.cpython-38.pyc
R 200 4000 src/shop/migrations/__pycache__/0001_initial.cpython-311.pyc
R 200 9000 tests/__pycache__/test_cart.cpython-311-pytest-7.4.3.pyc
R 300 5000 scripts/__pycache__/report.cpython-38.pyc
D 2 5000 scripts/__pycache__/report.cpython-311.pyc
R 500 7000 src/shop/cart.pyc
T 300 9000 plugins/vendor.pyc
R 120 300 .pytest_cache/README.md
R 120 30 .pytest_cache/.gitignore
R 120 pytest-tag .pytest_cache/CACHEDIR.TAG
R 120 2000 .pytest_cache/v/cache/nodeids
R 120 300 .pytest_cache/v/cache/lastfailed
R 120 40 .mypy_cache/.gitignore
R 120 pytest-tag .mypy_cache/CACHEDIR.TAG
R 120 60000 .mypy_cache/3.11/shop/cart.data.json
R 120 2000 .mypy_cache/3.11/shop/cart.meta.json
R 120 90000 .mypy_cache/3.11/builtins.data.json
R 120 30 .mypy_cache/missing_stubs
R 120 30 .ruff_cache/.gitignore
R 120 tag .ruff_cache/CACHEDIR.TAG
R 120 2000 .ruff_cache/0.6.9/1234567890
R 200 300 .tox/py38/pyvenv.cfg
R 200 90000 .tox/py38/lib/python3.8/site-packages/pip/__init__.py
R 200 9000 .tox/py38/lib/python3.8/site-packages/pip/__pycache__/__init__.cpython-38.pyc
R 200 2000 .tox/py38/lib/python3.8/site-packages/certifi/README.md
R 200 500 .tox/py38/.tox-info.json
R 200 0 .tox/py38/bin/python -> /usr/bin/python3
R 200 300 .nox/lint/pyvenv.cfg
R 200 30000 .nox/lint/lib/python3.11/site-packages/ruff/__init__.py
R 300 2000 .hypothesis/examples/2a9e/77fe
R 300 30000 .hypothesis/unicode_data/14.0.0/charmap.json.gz
R 90 50000 .coverage
R 90 20000 .coverage.build01.4711.XkdlWz
R 90 3000 htmlcov/index.html
R 90 9000 htmlcov/d_5f5a17c013354698_cart_py.html
R 90 2000 htmlcov/style_cb_8e611ae1.css
R 90 900 htmlcov/coverage_html_cb_6fb7b396.js
R 90 900 htmlcov/favicon_32_cb_58284776.png
R 90 900 htmlcov/status.json
R 90 30 htmlcov/.gitignore
R 200 3000 build/lib/shop/cart.py
R 200 10 build/lib/shop/__init__.py
R 200 20000 build/temp.linux-x86_64-cpython-311/fast.o
R 200 30000 dist/shop-0.9.tar.gz
R 200 30000 dist/shop-0.9-py3-none-any.whl
D 200 900 src/shop.egg-info/PKG-INFO
D 200 200 src/shop.egg-info/SOURCES.txt
T 200 700 tools/gen/build/notes.txt
R 200 400 tools/gen/build/lib/gen/core.py
T 200 200 web/dist/.env
D 200 9000 web/dist/web-1.0-py3-none-any.whl
R 100 4000 notebooks/.ipynb_checkpoints/analysis-checkpoint.ipynb
T 100 4000 notebooks/.ipynb_checkpoints/lost-checkpoint.ipynb
R 90 3000 src/shop/cart.py~
T 90 3000 src/shop/lost.py~
T 10 3000 src/shop/cart.py.bak
R 120 swap src/shop/.cart.py.swp
T 80 swap src/shop/.main.py.swp
T 120 swap docs/.plan.md.swp
R 120 2000 src/shop/#main.py#
R 150 800 docs/index.md.orig
R 150 800 src/shop/cart.py.rej
D 50 800 src/shop/main.py.rej
R 150 3000 src/shop/cart_BASE_4711.py
R 150 3000 src/shop/cart_LOCAL_4711.py
R 150 3000 src/shop/cart_REMOTE_4711.py
R 150 3000 src/shop/cart_BACKUP_4711.py
R 200 6148 .DS_Store
R 200 6148 docs/.DS_Store
R 200 appledouble docs/._index.md
R 200 9000 docs/Thumbs.db
R 300 core core.4711
T 300 mbox mail/core
T 200 2000 results.tmp
T 200 2000 tmp/draft of a letter.md
T 200 2000 tmp/attempt.py
T 300 2000 src/shop/unfinished.py
T 300 300 .env
T 300 300 .env.bak
T 300 1700 deploy/server.key
T 300 1700 deploy/server.key.bak
T 300 300 password.txt~
T 300 400 api_token.json.old
T 200 9000 cache/customers.csv
T 200 no-tag cache/CACHEDIR.TAG
R 400 2000 logs/shop.log.1
R 400 2000 logs/shop.log.2.gz
R 200 3000 logs/shop.log.2024-01-01
T 1 9000 logs/shop.log
T 300 200 .venv/pyvenv.cfg
T 300 venv-tag .venv/CACHEDIR.TAG
T 300 20000 .venv/lib/python3.11/site-packages/flask/app.py
D 300 20000 .venv/lib/python3.11/site-packages/flask/__pycache__/app.cpython-311.pyc
R 100 30000 downloads/model.bin.part
D 5 30000 downloads/video.mp4.part
"""
PYTHON_IGNORES = """__pycache__/
*.py[cod]
.pytest_cache/
.mypy_cache/
.ruff_cache/
.tox/
.nox/
.hypothesis/
.coverage
.coverage.*
htmlcov/
build/
dist/
*.egg-info/
.ipynb_checkpoints/
.env
.venv/
*.log
cache/
"""

NODE = """
t 400 300 .gitignore
t 300 900 old-site/package.json
t 300 9000 old-site/package-lock.json
t 300 2000 old-site/src/index.js
t 300 900 web/package.json
t 100 9000 web/pnpm-lock.yaml
t 3 2000 web/pages/index.tsx
t 300 900 server/package.json
t 300 9000 server/yarn.lock
t 300 2000 server/index.js
t 300 900 worker/package.json
t 300 9000 worker/package-lock.json
t 300 2000 worker/index.js
t 300 900 lab/package.json
t 300 900 vendored/package.json
t 300 900 vendored/package-lock.json
t 300 2000 vendored/node_modules/left-pad/index.js
t 300 500 docs/My Notes (1).txt
t 100 500 docs/Übersicht.md
t 100 500 docs/it's "quoted" [a].txt
R 300 90000 old-site/node_modules/js-tokens/index.js
R 300 2000 old-site/node_modules/js-tokens/README.md
R 300 900 old-site/node_modules/js-tokens/package.json
R 300 1000 old-site/node_modules/js-tokens/LICENSE
R 300 90000 old-site/node_modules/webpack/lib/index.js
R 300 9000 old-site/node_modules/webpack/node_modules/acorn/dist/acorn.js
R 300 900 old-site/node_modules/webpack/yarn.lock
R 300 900 old-site/node_modules/webpack/Makefile
R 300 20000 old-site/node_modules/.package-lock.json
R 300 0 old-site/node_modules/.bin/webpack -> ../webpack/lib/index.js
R 300 9000 old-site/node_modules/with space/ümlaut [1].js
R 300 2000 old-site/.nuxt/nuxt.d.ts
R 300 20000 old-site/.nuxt/dist/server/server.mjs
R 300 20000 old-site/.parcel-cache/data.mdb
R 300 9000 old-site/.parcel-cache/lock.mdb
R 300 9000 old-site/.parcel-cache/a4f5b6.txt
R 300 9000 old-site/.turbo/cache/0123abc.tar.zst
R 300 900 old-site/.turbo/turbo-build.log
R 300 9000 old-site/.eslintcache
D 300 30000 old-site/dist/bundle.js
R 300 3000 old-site/npm-debug.log
R 300 3000 old-site/yarn-error.log
R 300 3000 web/.pnpm-debug.log
R 200 9000 web/coverage/lcov.info
R 200 9000 web/coverage/coverage-final.json
R 200 9000 web/coverage/lcov-report/index.html
T 60 90000 web/node_modules/react/index.js
T 60 90000 web/node_modules/react/cjs/react.development.js
D 60 30 web/.next/BUILD_ID
D 60 9000 web/.next/server/pages/index.js
R 60 90000 web/.next/cache/webpack/client-production/0.pack
R 60 9000 web/.next/cache/.tsbuildinfo
T 300 300 server/.env
T 300 90000 server/node_modules/express/index.js
T 300 30 server/.next/BUILD_ID
T 300 9000 server/.next/server/pages/index.js
T 1 90000 worker/out.log
T 300 90000 worker/node_modules/bull/index.js
D 300 90000 lab/node_modules/express/index.js
R 200 500 docs/My Notes (1).txt~
R 200 500 docs/Übersicht.md~
R 200 500 docs/it's "quoted" [a].txt~
T 200 500 docs/Entwürfe (alt).txt~
T 200 500 docs/caf\udce9 plan.txt~
T 300 900 docs/caf\udce9.txt
T 200 500 docs/Geheimnis [secret].txt~
R 200 6148 docs/caf\udce9/.DS_Store
R 200 300 Desktop.ini/desktop.ini
R 200 6148 docs/Thumbs.db
T 300 3000 todo list.txt
T 300 300 .npmrc
T 300 300 web/.env.local
"""
NODE_IGNORES = """node_modules/
!vendored/node_modules/
.next/
.nuxt/
.parcel-cache/
.turbo/
.eslintcache
dist/
coverage/
*.log
.env*
"""

MIXED = """
t 400 300 .gitignore
t 300 300 rust/Cargo.toml
t 300 900 rust/Cargo.lock
t 300 900 rust/src/main.rs
t 300 300 go/go.mod
t 300 900 go/calc/calc.go
t 300 900 go/calc/calc_test.go
t 300 900 java/pom.xml
t 100 900 java/src/main/java/Main.java
t 300 900 android/build.gradle
t 300 900 android/settings.gradle
t 300 900 android/app/build.gradle.kts
t 300 900 c/CMakeLists.txt
t 300 900 c/configure.ac
t 100 900 c/src/foo.c
t 100 900 c/src/bar.cpp
t 300 9000 c/prebuilt/blob.o
t 300 900 infra/main.tf
t 300 900 app/migrations/0002_more.py
R 200 cargo-tag rust/target/CACHEDIR.TAG
R 200 900 rust/target/.rustc_info.json
R 200 0 rust/target/debug/.cargo-lock
R 200 90000 rust/target/debug/deps/server-0a1b2c3d
R 200 90000 rust/target/debug/deps/libserde-1a2b3c4d.rlib
R 200 300 rust/target/debug/deps/server-0a1b2c3d.d
R 200 9000 rust/target/debug/build/libc-5e6f/build-script-build
R 200 90000 rust/target/debug/incremental/server-1x2y/s-abc/query-cache.bin
R 200 900 rust/target/debug/.fingerprint/serde-9a8b/lib-serde.json
R 200 20000 rust/target/debug/examples/demo-7c6d
D 200 0 rust/target/debug/server = rust/target/debug/deps/server-0a1b2c3d
R 200 300 rust/target/debug/server.d
R 200 90000 rust/target/release/deps/server-4d5e6f70
R 200 9000 rust/target/release/build/libc-5e6f/build-script-build
R 200 900 rust/target/release/.fingerprint/serde-9a8b/lib-serde.json
T 200 0 rust/target/release/server = rust/target/release/deps/server-4d5e6f70
T 200 900 rust/target/criterion/parse/base/estimates.json
T 200 900 rust/target/criterion/parse/report/index.html
T 200 9000 rust/target/release/server.sqlite3
R 200 go go/calc.test
R 200 go go/__debug_bin1234567890
R 200 900 go/coverage.out
D 200 go go/calc/calc
T 200 900 go/notes.test
R 200 9000 java/target/classes/Main.class
R 200 900 java/target/classes/application.properties
R 200 9000 java/target/test-classes/MainTest.class
R 200 900 java/target/maven-status/maven-compiler-plugin/compile/default-compile/createdFiles.lst
R 200 900 java/target/surefire-reports/TEST-MainTest.xml
T 200 30000 java/target/shop-1.0.jar
R 200 90000 android/app/build/intermediates/classes/debug/A.class
R 200 9000 android/app/build/tmp/kotlin-classes/debug/B.class
R 200 900 android/app/build/generated/source/buildConfig/BuildConfig.java
D 200 90000 android/app/build/outputs/apk/release/app-release.apk
R 200 17 android/.gradle/8.5/checksums/checksums.lock
R 200 9000 android/.gradle/8.5/fileHashes/fileHashes.bin
R 200 30 android/.gradle/vcs-1/gc.properties
R 200 17 android/.gradle/buildOutputCleanup/buildOutputCleanup.lock
R 200 9000 c/out/CMakeCache.txt
R 200 9000 c/out/CMakeFiles/foo.dir/src/foo.c.o
R 200 900 c/out/CMakeFiles/CMakeOutput.log
R 200 900 c/out/Makefile
R 200 900 c/out/cmake_install.cmake
R 200 9000 c/out/libfoo.a
R 200 9000 c/debug/CMakeCache.txt
R 200 90000 c/debug/CMakeFiles/app.dir/src/foo.c.o
R 200 900 c/debug/Makefile
R 200 900 c/debug/cmake_install.cmake
D 200 program c/debug/app
T 200 9000 c/debug/results.csv
R 200 9000 c/src/foo.o
R 200 9000 c/src/bar.o
R 200 900 c/src/foo.gcda
R 200 900 c/src/foo.gcno
T 200 9000 c/firmware/vendor.o
R 200 20000 c/autom4te.cache/output.0
R 200 900 c/autom4te.cache/requests
T 100 9000 infra/terraform.tfstate
T 200 9000 infra/terraform.tfstate.backup
T 200 9000 infra/terraform.tfstate.1712345678.backup
D 200 9000 infra/.terraform/providers/linux/provider
T 300 400 .ssh/id_ed25519
T 300 400 .ssh/id_ed25519.bak
T 300 100 .ssh/config~
T 200 tag datasets/CACHEDIR.TAG
T 200 90000 datasets/measured.csv
R 200 font-tag var/fonts/CACHEDIR.TAG
R 200 9000 var/fonts/a1b2-le64.cache-7
R 200 tag var/thumbnail-cache/CACHEDIR.TAG
R 200 90000 var/thumbnail-cache/large/0f1e.png
T 200 no-tag var/cache/CACHEDIR.TAG
T 200 9000 var/cache/orders.csv
T 200 0 var/pages/CACHEDIR.TAG
T 200 9000 var/pages/entry.html
R 200 900 java/src/main/java/Main_BACKUP_1234.java
R 200 900 java/src/main/java/Main_BASE_1234.java
R 200 900 java/src/main/java/Main.java.orig
D 200 900 java/src/main/java/Lost.java.orig
T 200 900 app/migrations/0002_more.py.orig
R 200 hprof java/java_pid4711.hprof
R 200 900 java/hs_err_pid4711.log
T 200 9000 java/orders.hprof
R 200 core core.1234
R 200 core vgcore.77
T 200 mbox core
R 200 6148 .DS_Store
"""
MIXED_IGNORES = """target/
build/
.gradle/
*.o
*.gcda
*.gcno
/c/out/
/c/debug/
*.test
__debug_bin*
coverage.out
.terraform/
*.tfstate*
autom4te.cache/
core
core.*
vgcore.*
*.log
var/
!c/prebuilt/blob.o
"""

DATA_SCIENCE = """
t 400 300 .gitignore
t 300 900 requirements.txt
t 200 3000 train.py
t 300 900 prepare.py
t 300 nightly nightly.sh
t 30 9000 notebooks/explore.ipynb
t 20 9000 notebooks/Modell für März.ipynb
T 300 90000 data/raw/readings.csv
T 300 90000 data/raw/dataset.csv.part1
T 300 90000 data/raw/dataset.csv.part2
T 300 90000 data/interim/cache/features.parquet
T 300 90000 data/cache/state.json
T 200 90000 models/best.ckpt
T 200 90000 models/best.ckpt.old
T 200 90000 models/epoch-0041.tmp.pt
T 300 9000 mlruns/0/meta.yaml
T 300 9000 mlruns/0/a1b2/metrics/loss
D 300 9000 wandb/run-20240101_120000-a1b2/files/output.log
D 300 9000 lightning_logs/version_0/events.out.tfevents.1704067200
D 300 9000 runs/exp1/train-2024-01-01.log
D 300 9000 logs/train-2024-01-02.log
D 300 90000 .joblib/joblib/train/fit/a1b2/output.pkl
T 300 9000 study.db
T 300 9000 study.db-wal
T 300 9000 study.db-shm
T 300 9000 .RData
T 300 900 .Rhistory
T 300 900 tmp/plot.py
T 300 900 tmp/measured by hand.csv
T 200 9000 results.tmp
T 200 9000 results.csv
R 100 9000 __pycache__/train.cpython-310.pyc
R 100 9000 __pycache__/prepare.cpython-310.pyc
R 200 9000 notebooks/.ipynb_checkpoints/explore-checkpoint.ipynb
R 200 9000 notebooks/.ipynb_checkpoints/Modell für März-checkpoint.ipynb
T 200 9000 notebooks/.ipynb_checkpoints/Untitled-checkpoint.ipynb
T 200 9000 notebooks/.virtual_documents/x.ipynb
R 200 90000 data/weights.bin.part
R 200 90000 data/archive.zip.crdownload
D 3 90000 data/second.zip.crdownload
R 300 9000 export.tmp
R 300 9000 nohup.out
D 5 9000 gpu/nohup.out
R 300 core core.20211
R 300 3000 train.py~
T 300 3000 idea.py~
R 300 6148 data/.DS_Store
R 300 appledouble data/raw/._readings.csv
T 300 9000 data/raw/._notes
R 300 900 .pytest_cache/README.md
R 300 pytest-tag .pytest_cache/CACHEDIR.TAG
R 300 900 .pytest_cache/v/cache/nodeids
T 300 900 data/exports/q1.tmp
T 300 9000 data/core
D 300 9000 plots/figure.bak
"""
DATA_SCIENCE_IGNORES = """data/
models/
mlruns/
wandb/
__pycache__/
.ipynb_checkpoints/
*.tmp
*.log
.pytest_cache/
nohup.out
core.*
"""

SERVER = """
T 300 900 config/conductor_config.json
T 300 9000 shop/app.py
T 300 900 shop/requirements.txt
T 300 300 shop/.env
T 300 300 shop/.env~
T 300 200 shop/venv/pyvenv.cfg
T 300 venv-tag shop/venv/CACHEDIR.TAG
T 300 90000 shop/venv/lib/python3.11/site-packages/django/apps.py
D 300 90000 shop/venv/lib/python3.11/site-packages/django/__pycache__/apps.cpython-311.pyc
R 300 9000 shop/__pycache__/app.cpython-39.pyc
R 300 9000 shop/__pycache__/gone.cpython-39.pyc
T 300 9000 shop/migrations/0003.py.bak
T 300 900 front/package.json
T 300 9000 front/package-lock.json
T 300 90000 front/node_modules/express/index.js
T 300 30 front/.next/BUILD_ID
T 0 90000 logs/shop.log
R 40 90000 logs/shop.log.1
R 60 9000 logs/shop.log.2.gz
R 80 9000 logs/shop.log.3.gz
R 200 9000 logs/shop.log-20240101
R 200 9000 logs/shop.log-20240108.gz
D 3 90000 logs/shop.log.4
T 0 90000 logs/access.log
R 90 9000 logs/access.log.1
R 200 9000 logs/access-2024-01-01.log
R 200 9000 logs/access.log.2024-01-02
D 200 9000 logs/billing-2024-01-01.log
T 200 9000 logs/audit.log
T 300 90000 backups/shop-2024-01-01.sql.gz
T 300 90000 archives/site.bak
T 300 90000 archives/2023/shop.log.1
T 300 90000 archives/old app/__pycache__/x.cpython-27.pyc
T 300 90000 data/shop.sqlite3
T 300 9000 data/shop.sqlite3-wal
T 300 9000 data/shop.sqlite3-shm
T 300 90000 data/dump.rdb
T 300 9000 data/temp-42.rdb
T 300 1700 .ssh/id_rsa
T 300 1700 .ssh/id_rsa.old
T 300 900 .ssh/authorized_keys~
T 300 900 .ssh/config.bak
T 300 9000 .bash_history
T 300 900 keys/vpn.kdbx.bak
T 300 900 keys/old_key_2023.txt~
T 300 4 run/shop.pid
T 300 0 run/shop.lock
R 300 core core
R 300 core crash/core.999
T 300 mbox mail/core
T 300 900 mail/inbox/tmp/1704067200.M1P2.host
T 0 9000 nohup.out
R 200 9000 old/nohup.out
R 200 9000 shop/.nfs000000000012345600000001
T 20 9000 shop/.nfs000000000012345600000002
R 300 9000 www/Thumbs.db
R 300 300 www/desktop.ini
R 300 6148 www/.DS_Store
R 300 appledouble www/._logo.png
T 300 300 www/._todo
T 60 9000 www/index.php
R 200 9000 www/index.php~
R 200 9000 www/index.php.bak
R 200 9000 www/index.php.orig
T 200 9000 www/contact.php.bak
T 100 900 nginx/nginx.conf
T 200 900 nginx/nginx.conf.bak
T 200 900 deploy.sh~
T 100 900 deploy.sh
T 200 900 crontab.bak
R 100 90000 www/uploads/film.mp4.part
D 300 90000 www/wp-content/cache/page.html
D 300 900 sessions/sess_a1b2c3
R 300 hprof tomcat/java_pid99.hprof
R 300 900 tomcat/hs_err_pid99.log
D 300 900 tomcat/catalina.out
T 300 9000 old/report (final).doc
T 300 9000 tmp/invoice 2024.pdf
T 300 900 tmp/caf\udce9.txt
R 200 900 www/caf\udce9.html~
T 100 900 www/caf\udce9.html
T 200 900 www/\udcff\udcfe.html~
"""

TREES = {
    "python": (PYTHON, PYTHON_IGNORES),
    "node": (NODE, NODE_IGNORES),
    "mixed": (MIXED, MIXED_IGNORES),
    "data science": (DATA_SCIENCE, DATA_SCIENCE_IGNORES),
    "server": (SERVER, None),  # without git
}


# -- making them

class LabelledTree:
    """A tree on disk; `labels` and `sizes` by path, as an inventory has it."""

    def __init__(self, folder, name):
        table, self.ignores = TREES[name]
        self.name = name
        self.folder = str(folder)
        self.now = time.time() + AHEAD
        self.labels, self.sizes = {}, {}
        os.makedirs(self.folder, mode=0o700)
        tracked = [self._make(*line.split(" ", 3)) for line in table.strip().split("\n")]
        if self.ignores is not None:
            self._commit([path for path in tracked if path])

    def _make(self, letter, age, content, path):
        """Make one file; its path if git is to track it."""
        path, link, target = path, "", ""
        for link in (" -> ", " = "):
            if link in path:
                path, _, target = path.partition(link)
                break
        self.labels[path] = LETTERS[letter]
        place = self.join(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if target and link == " -> ":
            os.symlink(target, place)
        elif target:
            os.link(self.join(target), place)
        else:
            with open(place, "wb") as handle:
                handle.write(self._content(path, content))
        changed = self.now - int(age) * DAY - 60
        os.utime(place, (changed, changed), follow_symlinks=False)
        self.sizes[path] = os.lstat(place).st_size
        return path if letter == "t" else None

    def _content(self, path, content):
        if path == ".gitignore":
            return self.ignores.encode()
        if content in CONTENT:
            return CONTENT[content]
        # Two files with the same content would be found by what looks for duplicates.
        line = os.fsencode(path) + b"\0\n"
        return (line * (int(content) // len(line) + 1))[:int(content)]

    def join(self, path):
        return os.path.join(os.fsencode(self.folder), os.fsencode(path))

    def _commit(self, paths):
        self.git("init", "-q", "--template=")
        self.git("add", "-f", "--", *map(os.fsencode, paths))
        self.git("commit", "-q", "-m", "first")

    def git(self, *arguments):
        """The output of git."""
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c",
                    "core.quotePath=false")
        env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        env.update(GIT_CONFIG_NOSYSTEM="1", HOME=self.folder)
        return subprocess.run(("git",) + settings + arguments, cwd=self.folder, env=env, check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout

    def inventory(self):
        """The document of an inventory of the tree."""
        taken = Inventory(Root(self.folder), use_cache=False).take()
        return json.loads(b"".join(taken._text()).decode("ascii"))

    def plan(self, rules):
        """The plan by some rules, as of the day of the tree."""
        return make_plan(self.inventory(), rules, self.now, evidence=Evidence(Root(self.folder)))

    def below(self, path):
        """The labelled files that go with a path: itself, or those in the folder."""
        if path in self.labels:
            return [path]
        return [labelled for labelled in self.labels if labelled.startswith(path + "/")]


def shipped_rules():
    """The rules as they are shipped."""
    path = os.path.join(os.path.dirname(HERE), RULES_NAME)
    with open(path, encoding="utf-8") as handle:
        return build_rules(sc.parse_document(handle.read(), RULES_NAME), RULES_NAME)


def taken_by_rule(tree, plan):
    """path -> the rule that takes it, for each labelled file that goes."""
    return {path: candidate.rule for candidate in plan.candidates
            for path in tree.below(candidate.path)}


# -- others of the kind

def git_clean(tree):
    """The paths that `git clean -ndX` would remove, None without git."""
    if tree.ignores is None:
        return None
    lines = tree.git("clean", "-ndX").decode("utf-8", "surrogateescape").splitlines()
    return [path for line in lines
            for path in tree.below(unquoted(line[len("Would remove "):]).rstrip("/"))]


def unquoted(name):
    """A name as git prints it, without what it puts around odd ones."""
    if not name.startswith('"'):
        return name
    data = re.sub(br"\\([0-7]{3}|.)", lambda match: _unescaped(match.group(1)),
                  name[1:-1].encode("utf-8", "surrogateescape"))
    return data.decode("utf-8", "surrogateescape")


def _unescaped(code):
    if len(code) == 3:
        return bytes([int(code, 8)])
    return code


def pyclean(tree, program):
    """The paths that pyclean would remove."""
    done = subprocess.run([program, "--dry-run", "--verbose", "--debris", "all", "."],
                          cwd=tree.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    text = done.stdout.decode("utf-8", "surrogateescape")
    gone = set()
    for path in re.findall(r"(?m)Would delete (?:file|folder|directory): (.+)$", text):
        gone.update(tree.below(os.path.normpath(path)))
    return sorted(gone)


def rmlint(tree, program):
    """The paths that rmlint would remove: duplicates, empty files, broken links and the like."""
    done = subprocess.run([program, "--hidden", "-o", "json:stdout", "."], cwd=tree.folder,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    entries = json.loads(done.stdout.decode("utf-8", "replace"))
    gone = [entry["path"] for entry in entries
            if "path" in entry and not entry.get("is_original")]
    folder = os.path.realpath(tree.folder)
    return sorted({path for name in gone
                   for path in tree.below(stored_path(os.path.relpath(name, folder)))})


# -- the tables

class Tally:
    """Files and bytes by label."""

    def __init__(self):
        self.files = dict.fromkeys(LABELS, 0)
        self.bytes = dict.fromkeys(LABELS, 0)

    def add(self, tree, path):
        label = tree.labels[path]
        self.files[label] += 1
        self.bytes[label] += tree.sizes[path]

    def cells(self):
        return ["%d" % self.files[RUBBISH], kilobytes(self.bytes[RUBBISH]),
                "%d" % self.files[TREASURE], "%d" % self.files[DOUBTFUL]]


def kilobytes(size):
    return "%.1f kB" % (size / 1000.0)


def share(part, whole):
    """A percentage, of nothing: all."""
    if not whole:
        return 100.0
    return 100.0 * part / whole


def table(headings, rows):
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings)] + rows
    return "\n".join("| %s |" % " | ".join(line) for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pyclean", default=shutil.which("pyclean"))
    parser.add_argument("--missed", action="store_true", help="list the rubbish that stays")
    args = parser.parse_args()
    rules = shipped_rules()
    by_rule = {rule.name: Tally() for rule in rules.rules}
    others = {"`git clean -ndX`": git_clean}
    if args.pyclean:
        others["`pyclean --debris all`"] = lambda tree: pyclean(tree, args.pyclean)
    if shutil.which("rmlint"):
        others["`rmlint`"] = lambda tree: rmlint(tree, "rmlint")
    everything = Tally()
    ours = Tally()
    theirs = {name: Tally() for name in others}
    per_tree = []
    folder = tempfile.mkdtemp(prefix="trees-")
    try:
        for name in TREES:
            tree = LabelledTree(os.path.join(folder, name.replace(" ", "-")), name)
            plan = tree.plan(rules)
            taken = taken_by_rule(tree, plan)
            total, part = Tally(), Tally()
            for path in tree.labels:
                everything.add(tree, path)
                total.add(tree, path)
            for path, rule in taken.items():
                for tally in (part, ours, by_rule[rule]):
                    tally.add(tree, path)
            per_tree.append([name, "%d" % total.files[RUBBISH]] + part.cells() + [
                "%.1f %%" % share(part.files[RUBBISH], total.files[RUBBISH]),
                "%.1f %%" % share(part.bytes[RUBBISH], total.bytes[RUBBISH])])
            if args.missed:
                print_missed(tree, plan, taken)
            for other, look in others.items():
                for path in look(tree) or ():
                    theirs[other].add(tree, path)
    finally:
        shutil.rmtree(os.fsencode(folder))
    print_tables(everything, ours, theirs, per_tree, by_rule)


def print_missed(tree, plan, taken):
    """What should have gone, and what should not."""
    reasons = {removal.path: "%s: %s" % (removal.rule, removal.reason) for removal in plan.skipped}
    for path, label in sorted(tree.labels.items()):
        if (label == RUBBISH) == (path in taken):
            continue
        why = [reason for place, reason in reasons.items()
               if path == place or path.startswith(place + "/")]
        text = "%s: %s %s %s %s" % (tree.name, label, ascii(path), taken.get(path, "stays"), why)
        if label == RUBBISH or path in taken:
            print(text)
    if plan.refused:
        print("%s: refused: %s" % (tree.name, plan.refused))


def print_tables(everything, ours, theirs, per_tree, by_rule):
    headings = ["rubbish taken", "bytes of it", "treasure taken", "doubtful taken"]
    rows = [["all there is"] + everything.cells() + ["", ""]]
    for name, tally in [("the shipped rules", ours)] + sorted(theirs.items()):
        rows.append([name] + tally.cells() + [
            "%.1f %%" % share(tally.files[RUBBISH], everything.files[RUBBISH]),
            "%.1f %%" % share(tally.bytes[RUBBISH], everything.bytes[RUBBISH])])
    recall = ["of the files", "of the bytes"]
    print(table([""] + headings + recall, rows) + "\n")
    print(table(["tree", "rubbish"] + headings + recall, per_tree) + "\n")
    print(table(["rule"] + headings, [[name] + tally.cells() for name, tally in by_rule.items()
                                      if sum(tally.files.values())]))


if __name__ == "__main__":
    main()
