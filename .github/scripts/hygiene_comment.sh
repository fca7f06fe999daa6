#!/bin/sh
# Keeps the one comment about clean-up on a pull request true.
#
#     hygiene_comment.sh REPORT STATE
#
# REPORT is a Markdown file. STATE is "findings" when there is something to tell, or "clean".
# From the environment: GH_TOKEN, REPOSITORY (OWNER/NAME), PR (its number).
#
# The comment is known by its last line, a hidden marker, and by its author: a person may quote the marker. It is made
# when there are findings, edited in place as they change, and says that they are resolved when they are; where there
# never was anything to tell there is no comment. It is never deleted, and not touched when it is true already.
#
# Exit codes: 0 ok; 1 gh failed, or REPORT cannot be read; 2 usage.
set -eu

author='github-actions[bot]'
marker='<!-- symphony-conductor: clean-up report -->'
# shellcheck disable=SC2016  # Markdown
opt_out='The label `no-hygiene-comment` on a pull request turns this comment off.'
limit=65000  # bytes; GitHub takes 65,536 characters, and the lines behind the report need room

say() { printf 'hygiene_comment.sh: %s\n' "$*"; }
fail() { say "$@" >&2; exit 1; }
usage() { say "$@" >&2; exit 2; }

[ $# -eq 2 ] || usage "it takes a report and a state"
report=$1 state=$2
case $state in findings | clean) ;; *) usage "the state is neither 'findings' nor 'clean'" ;; esac
[ -n "${GH_TOKEN:-}" ] || usage "GH_TOKEN is not set"
case ${REPOSITORY:-} in ?*/?*) ;; *) usage "REPOSITORY is not OWNER/NAME" ;; esac
case ${PR:-} in '' | *[!0-9]*) usage "PR is not the number of a pull request" ;; esac
[ -r "$report" ] || fail "the report $report cannot be read"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the API answers; gh's own complaint becomes one line of ours. Not to be put before a pipe, which would hide that.
api() {
    gh api "$@" 2>"$work/errors" || fail "gh failed: $(grep -m 1 . "$work/errors" || echo "it did not say why")"
}

# The number of our comment, or nothing.
find_comment() {
    api --paginate "repos/$REPOSITORY/issues/$PR/comments?per_page=100" --jq \
        ".[] | select(.user.login == \"$author\" and ((.body // \"\") | test(\"$marker\\\\s*\\\\z\"))) | .id"
}

# Whole lines of the report as far as they fit, in bytes; what the cut left open is closed.
fitting() {
    LC_ALL=C awk -v limit="$limit" -v marker="$marker" '
        $0 == marker { next }
        size + length($0) + 1 > limit { cut = 1; exit }
        { print; size += length($0) + 1 }
        /^<details/ { open++ }
        /^<\/details>/ { open-- }
        END {
            if (cut) print "\nCut here: a comment holds no more. The artifact `hygiene-reports` has the rest."
            while (open-- > 0) print "\n</details>"
        }' "$report"
}

write_body() {
    if [ "$state" = clean ]; then
        echo "Resolved: no clean-up rule names a file that this pull request adds, and nothing is a candidate."
    else
        fitting
    fi
    printf '\n%s\n\n%s\n' "$opt_out" "$marker"
}

found=$(find_comment)
id=$(printf '%s\n' "$found" | head -n 1)
if [ -z "$id" ] && [ "$state" = clean ]; then
    say "nothing to tell"
    exit 0
fi
write_body >"$work/body"
if [ -z "$id" ]; then
    url=$(api --method POST "repos/$REPOSITORY/issues/$PR/comments" -F "body=@$work/body" --jq .html_url)
    say "made $url"
    exit 0
fi
before=$(api "repos/$REPOSITORY/issues/comments/$id" --jq .body)
# GitHub's editor puts a carriage return before each line end, and says nothing else by it.
if [ "$(printf '%s\n' "$before" | tr -d '\r')" = "$(cat "$work/body")" ]; then
    say "comment $id is up to date"
    exit 0
fi
url=$(api --method PATCH "repos/$REPOSITORY/issues/comments/$id" -F "body=@$work/body" --jq .html_url)
say "edited $url"
