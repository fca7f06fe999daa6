#!/bin/sh
# Takes the inventory, analyses it and checks the health, and tells it all in a folder and in the summary of the job.
#
#     hygiene_reports.sh FOLDER
#
# BASE is the commit that a pull request goes on top of; without it no files count as added.
# Works on the checkout that it lies in. FOLDER should be outside of it, or it would be looked at as well.
#
#     summary.md     everything, for people; also in $GITHUB_STEP_SUMMARY or, where there is none, on standard output
#     comment.md     what the author of a pull request can act on, and the analysis
#     state          "findings" when comment.md has any, else "clean"; a refused or failed analysis is a finding
#     report.md      of the week, where a conductor has run in this checkout
#     inventory.txt, cleanup.md, health.txt, added.md      what each part printed
#     cleanup_inventory.json, cleanup_report.json          as they were written, if they were
#
# Exit codes: 0; that of the first part that failed or was refused (3), after everything was told; 2 usage. The verdict
# of the health check, 0 to 3, is one on the runner, where no cron calls the conductor: it is told, and fails nothing.
set -eu

[ $# -eq 1 ] || { echo "hygiene_reports.sh: it takes the folder to write to" >&2; exit 2; }
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd -P)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../.." && pwd -P)
python=${PYTHON:-python3}
marker='<!-- symphony-conductor: clean-up report -->'
failed=0
export PYTHONDONTWRITEBYTECODE=1  # bytecode would be new files in the very tree that is looked at
cd "$root"
for name in summary.md comment.md state report.md inventory.txt cleanup.md health.txt added.md \
    cleanup_inventory.json cleanup_report.json; do
    rm -f "$out/$name"  # of an earlier run; nothing else that may be there
done

# part FILE TOLERATED TITLE COMMAND...: what the command prints goes to FILE, its exit status to `status`. One above
# TOLERATED fails the job in the end. Markdown has its errors only where they are all there is.
part() {
    file=$out/$1 tolerated=$2 title=$3 status=0
    shift 3
    "$@" >"$file" 2>"$out/errors" || status=$?
    case $file in
        *.txt) cat "$out/errors" >>"$file" ;;
        *) [ "$status" -eq 0 ] || [ -s "$file" ] || as_code "$out/errors" >"$file" ;;
    esac
    rm "$out/errors"
    echo "$title: exit status $status"
    [ "$status" -gt "$tolerated" ] || return 0
    [ "$failed" -ne 0 ] || failed=$status
    echo "::error::$title: exit status $status"
}

as_code() { sed 's/^/    /' "$1"; }

# section TITLE STATUS: a heading that does not hide how it ended.
section() {
    case $2 in
        0) printf '\n## %s\n\n' "$1" ;;
        3) printf '\n## %s: refused (exit status 3)\n\n' "$1" ;;
        *) printf '\n## %s: exit status %d\n\n' "$1" "$2" ;;
    esac
}

take_parts() {
    part inventory.txt 0 "inventory" scripts/comprehensive_inventory.sh --root "$root"
    inventory=$status
    part cleanup.md 0 "clean-up analysis" "$python" scripts/cleanup_engine.py "$root/cleanup_inventory.json" \
        --report-only --format markdown --root "$root"
    analysis=$status
    part health.txt 3 "health check" scripts/quick_health_check.sh --root "$root"
    health=$status
    report=0
    if [ -d status/history ]; then
        part report.md 0 "report" "$python" scripts/symphony_report.py --format markdown --since 7d --root "$root"
        report=$status
    fi
    added=0
    if [ -n "${BASE:-}" ]; then
        part added.md 0 "added files" "$python" .github/scripts/added_rubbish.py --root "$root" -- "$BASE"
        added=$status
    fi
}

# The documents of this run, and how many candidates there are. An older report can still lie around; the marker at the
# end of what was printed says that there is one of this run.
take_documents() {
    candidates=0
    [ "$inventory" -ne 0 ] || cp cleanup_inventory.json "$out"
    [ "$(tail -n 1 "$out/cleanup.md")" = "$marker" ] || return 0
    cp cleanup_report.json "$out"
    candidates=$("$python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["candidates"]))' \
        "$out/cleanup_report.json")
}

write_summary() {
    if [ -e "$out/report.md" ]; then
        section "The last seven days" "$report"
        cat "$out/report.md"
    fi
    section "Clean-up analysis" "$analysis"
    grep -vxF -e "$marker" "$out/cleanup.md" || :
    if [ -n "${BASE:-}" ]; then
        section "Files that the pull request adds and a clean-up rule names" "$added"
        if [ -s "$out/added.md" ]; then cat "$out/added.md"; else echo none; fi
    fi
    section "Inventory" "$inventory"
    as_code "$out/inventory.txt"
    section "Health check of the runner" "$health"
    as_code "$out/health.txt"
}

write_comment() {
    if [ "$added" -ne 0 ]; then
        printf 'Which files are added could not be told (exit status %d):\n\n' "$added"
        cat "$out/added.md"
        echo
    elif [ -s "$out/added.md" ]; then
        printf 'Clean-up rules name files that this pull request adds:\n\n'
        cat "$out/added.md"
        # shellcheck disable=SC2016  # Markdown
        printf '\n%s\n%s\n\n' \
            'No clean-up touches what git tracks. `git rm --cached FILE` takes one out and leaves it on the disk;' \
            'a protected pattern in `config/cleanup_rules.json` says that one is here to stay.'
    fi
    case $analysis in
        0) [ "$candidates" -eq 0 ] || printf 'Candidates for clean-up in the checkout: %d\n\n' "$candidates" ;;
        3) printf 'The clean-up analysis was refused (exit status 3).\n\n' ;;
        *) printf 'The clean-up analysis failed (exit status %d).\n\n' "$analysis" ;;
    esac
    printf '<details><summary>Clean-up analysis of the checkout</summary>\n\n'
    grep -vxF -e "$marker" "$out/cleanup.md" || :
    printf '\n</details>\n\n%s\n' "$marker"
}

take_parts
take_documents
write_summary >"$out/summary.md"
write_comment >"$out/comment.md"
if [ "$analysis$added$candidates" = 000 ] && [ ! -s "$out/added.md" ]; then
    echo clean >"$out/state"
else
    echo findings >"$out/state"
fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$out/summary.md" >>"$GITHUB_STEP_SUMMARY"
else
    cat "$out/summary.md"
fi
exit "$failed"
