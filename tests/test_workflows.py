"""The workflows of .github, as text, and their scripts: the reports of a checkout, and the one comment about them.

No Python that the tests run on has a parser for YAML. The form of the workflows is checked by .ci/run, and what they
must and must not say is looked for here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from support import REPOSITORY, SCRIPT, SCRIPTS, git

import cleanup_report

WORKFLOWS = REPOSITORY / ".github" / "workflows"
GITHUB_SCRIPTS = REPOSITORY / ".github" / "scripts"
MARKER = "<!-- symphony-conductor: clean-up report -->"
OPT_OUT = "The label `no-hygiene-comment` on a pull request turns this comment off."
RESOLVED = ("Resolved: no clean-up rule names a file that this pull request adds, and nothing is a candidate."
            "\n\n%s\n\n%s" % (OPT_OUT, MARKER))
BOT = "github-actions[bot]"


# -- the workflows

def workflow(name):
    return (WORKFLOWS / name).read_text(encoding="utf-8")


def runs(text):
    """The commands of all steps: what stands behind `run:`, on its line or indented below it."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = re.match(r"(\s+)(?:- )?run:\s*(.*)", line)
        if not match:
            continue
        below = []
        for following in lines[number + 1:]:
            if following.strip() and len(following) - len(following.lstrip()) <= len(match.group(1)):
                break
            below.append(following)
        found.append("\n".join([match.group(2)] + (below if match.group(2) in ("|", ">", "|-", ">-") else [])))
    return found


def jobs(text):
    """The text of each job by its name."""
    parts = re.split(r"(?m)^  ([a-z]+):\n", text.split("\njobs:\n")[1])
    return dict(zip(parts[1::2], parts[2::2]))


def test_the_commands_of_a_workflow_are_found_on_the_line_and_below_it():
    assert runs("steps:\n  - run: one\n  - name: x\n    run: |\n      two\n\n      three\n    env:\n      A: b\n") == [
        "one", "|\n      two\n\n      three"]


def test_there_are_two_workflows():
    assert sorted(path.name for path in WORKFLOWS.iterdir()) == ["symphony-hygiene.yml", "tests.yml"]


@pytest.mark.parametrize("name, expected", [
    ("tests.yml", {"actions/checkout@v5"}),
    ("symphony-hygiene.yml", {"actions/checkout@v5", "actions/upload-artifact@v6", "actions/download-artifact@v7"}),
])
def test_only_actions_of_github_itself_are_used_each_by_its_major_version(name, expected):
    assert set(re.findall(r"uses:\s*(\S+)", workflow(name))) == expected


@pytest.mark.parametrize("name", ["tests.yml", "symphony-hygiene.yml"])
def test_no_workflow_runs_what_a_stranger_wrote_with_the_rights_of_the_repository(name):
    text = workflow(name)
    assert "pull_request_target" not in text and "workflow_run" not in text
    assert "secrets." not in text
    assert [command for command in runs(text) if "${{" in command] == []
    assert text.count("uses: actions/checkout") == text.count("persist-credentials: false")


@pytest.mark.parametrize("name, expected", [
    ("tests.yml", [("", "contents: read")]),
    ("symphony-hygiene.yml", [
        ("", "{}"), ("    ", "contents: read"), ("    ", "contents: read, pull-requests: write")]),
])
def test_a_workflow_has_the_rights_that_it_needs_and_no_more(name, expected):
    found = re.findall(r"(?m)^( *)permissions:((?:\n\1  .*|[^\n])*)", workflow(name))
    assert [(indent, ", ".join(re.sub(r"#.*", "", rights).split("\n")).strip(" ,").replace(",       ", ", "))
            for indent, rights in found] == expected


def test_each_job_ends_after_a_while_whatever_it_does():
    for name in ("tests.yml", "symphony-hygiene.yml"):
        for job, text in jobs(workflow(name)).items():
            assert len(re.findall(r"(?m)^    timeout-minutes: [0-9]+$", text)) == 1, job


def test_every_python_from_3_6_to_3_14_is_tested_in_an_image_that_exists_for_it():
    text = workflow("tests.yml")
    assert re.findall(r"(?m)^ +python: \[(.*)\]$", text) == [
        "'3.7', '3.8', '3.9', '3.10', '3.11', '3.12', '3.13', '3.14'"]
    assert "debian: [slim-bookworm]\n" in text
    assert "- python: '3.6'\n            debian: slim-bullseye\n" in text
    assert "image: python:${{ matrix.python }}-${{ matrix.debian }}\n" in text
    assert "fail-fast: false\n" in text


def test_the_tests_run_on_a_push_and_on_a_pull_request_and_the_newest_run_wins():
    text = workflow("tests.yml")
    assert "\non:\n  push:\n  pull_request:\n" in text
    assert "\nconcurrency:\n  group: tests-${{ github.ref }}\n  cancel-in-progress: true\n" in text
    assert runs(text) == [
        'chown -R "$(id -u):$(id -g)" .', "tests/run $MEASURED",
        "tests/run --world 0.1 --of-commit",
        "sudo apt-get update -q && sudo apt-get install -yq --no-install-recommends busybox cron dash fish"
        " mandoc strace zsh",
        ".ci/run"]


def test_the_hygiene_runs_weekly_on_a_pull_request_and_by_hand():
    text = workflow("symphony-hygiene.yml")
    assert re.search(
        r"\non:\n  schedule:\n    - cron: '23 5 \* \* 1'.*\n  pull_request:\n  workflow_dispatch:\n", text)
    assert "\nconcurrency:\n  group: symphony-hygiene-${{ github.ref }}" in text


def test_the_reports_are_kept_for_thirty_days_and_uploaded_when_the_analysis_is_refused_too():
    text = jobs(workflow("symphony-hygiene.yml"))["analyse"]
    upload = text[text.index("- name: Reports"):]
    assert "retention-days: 30\n" in upload
    assert "if: ${{ !cancelled() }}" in upload
    assert "path: ${{ runner.temp }}/hygiene\n" in upload
    assert runs(text) == ['.github/scripts/hygiene_reports.sh "$RUNNER_TEMP/hygiene"']
    assert "BASE: ${{ github.event_name == 'pull_request' && 'HEAD^1' || '' }}\n" in text


def test_the_job_with_the_right_to_write_runs_nothing_of_the_pull_request():
    text = jobs(workflow("symphony-hygiene.yml"))["comment"]
    assert re.findall(r"\bref: (.*)", text) == ["${{ github.event.pull_request.base.sha }}"]
    assert text.index("uses: actions/checkout") < text.index("ref:") < text.index("uses: actions/download-artifact")
    assert runs(text) == [
        '.github/scripts/hygiene_comment.sh "$RUNNER_TEMP/hygiene/comment.md" "$(cat "$RUNNER_TEMP/hygiene/state")"']


def test_there_is_no_comment_from_a_fork_and_none_against_the_label():
    text = jobs(workflow("symphony-hygiene.yml"))["comment"]
    condition = " ".join(text[text.index("if: >-") + 6:text.index("runs-on:")].split())
    assert condition == (
        "!cancelled() && github.event_name == 'pull_request' "
        "&& github.event.pull_request.head.repo.full_name == github.repository "
        "&& !contains(github.event.pull_request.labels.*.name, 'no-hygiene-comment') "
        "&& needs.analyse.outputs.artifact != ''")


@pytest.mark.parametrize("name", ["tests.yml", "symphony-hygiene.yml"])
def test_every_script_that_a_workflow_runs_is_there_and_can_be_run(name):
    scripts = [word for command in runs(workflow(name)) for word in command.split()
               if word.startswith((".github/", ".ci/", "tests/"))]
    assert scripts != []
    assert [word for word in scripts if not os.access(str(REPOSITORY / word), os.X_OK)] == []


def test_the_marker_is_the_one_of_the_report():
    assert cleanup_report.MARKER == MARKER
    for name in ("hygiene_comment.sh", "hygiene_reports.sh"):
        assert "\nmarker='%s'\n" % MARKER in (GITHUB_SCRIPTS / name).read_text(encoding="utf-8")


# -- the comment

FINDERS = {  # what gh's --jq would do, for the very expressions that the script uses
    '.[] | select(.user.login == "github-actions[bot]" and ((.body // "") | '
    'test("<!-- symphony-conductor: clean-up report -->\\\\s*\\\\z"))) | .id': "find",
    ".body": "body",
    ".html_url": "html_url",
}
GH = r'''
"""gh, as far as the script goes: comments in a file, pages of 30 or as asked, and GitHub's limit."""
import json, os, re, sys

folder, finders = os.path.dirname(os.path.abspath(__file__)), json.loads(%(finders)r)
store = os.path.join(folder, "comments.json")


def leave(text):
    sys.stderr.write(text)
    sys.exit(1)


def found(query, answer):
    if finders.get(query) == "find":
        return [one["id"] for one in answer if (one["user"] or {}).get("login") == "github-actions[bot]"
                and re.search(r"<!-- symphony-conductor: clean-up report -->\s*\Z", one["body"] or "")]
    if query not in finders:
        leave("failed to parse jq expression: %%s\n" %% query)
    return [answer[query[1:]]]


def option(name, default=None):
    return args[args.index(name) + 1] if name in args else default


args = sys.argv[1:]
method, path = option("--method", "GET"), next(arg for arg in args if arg.startswith("repos/"))
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write("%%s %%s\n" %% (method, path))
if os.environ.get("GH_TOKEN") != "s3cret":
    leave("gh: To use GitHub CLI in a GitHub Actions workflow, set the GH_TOKEN environment variable.\n")
failing = os.path.join(folder, "failing-" + method)
if os.path.exists(failing) and re.search(open(failing).readline().strip(), path):
    print('{"message": "no"}')
    leave("".join(open(failing).readlines()[1:]))
comments = json.load(open(store))
many = re.match(r"repos/me/it/issues/7/comments(?:\?per_page=([0-9]+))?\Z", path)
one = re.match(r"repos/me/it/issues/comments/([0-9]+)\Z", path)
if args[0] != "api" or not (many or one):
    leave("gh: Not Found (HTTP 404)\n")
body = option("-F")
if body is not None:
    body = open(body[len("body=@"):], encoding="utf-8", newline="").read()
    if len(body) > 65536:
        leave("gh: Body is too long (maximum is 65536 characters) (HTTP 422)\n")
if one:
    answer = next(item for item in comments if item["id"] == int(one.group(1)))
    if method == "PATCH":
        answer["body"] = body
elif method == "POST":
    answer = {"id": 9001, "user": {"login": "github-actions[bot]"}, "body": body}
    comments.append(answer)
else:
    size = int(many.group(1) or 30)
    pages = [comments[at:at + size] for at in range(0, len(comments), size)] or [[]]
    for page in pages if "--paginate" in args else pages[:1]:
        print("".join("%%s\n" %% each for each in found(option("--jq"), page)), end="")
    sys.exit(0)
json.dump(comments, open(store, "w"))
answer["html_url"] = "https://github.example/me/it/pull/7#issuecomment-%%d" %% answer["id"]
sys.stdout.buffer.write((found(option("--jq"), answer)[0] + "\n").encode("utf-8"))
'''


class PullRequest:
    """Comments of a pull request, a gh that knows them, and the script."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.report = folder / "comment.md"
        program = folder / "gh"
        program.write_text("#!%s -S\n%s" % (sys.executable, GH % {"finders": json.dumps(FINDERS)}), encoding="utf-8")
        program.chmod(0o755)
        self.env = {"PATH": "%s:%s" % (folder, os.environ["PATH"]), "GH_TOKEN": "s3cret", "REPOSITORY": "me/it",
                    "PR": "7", "TMPDIR": str(folder)}
        self.comments = []

    @property
    def comments(self):
        return json.loads((self.folder / "comments.json").read_text(encoding="utf-8"))

    @comments.setter
    def comments(self, comments):
        (self.folder / "comments.json").write_text(json.dumps([
            {"id": number, "user": None if login is None else {"login": login}, "body": body}
            for number, login, body in comments]), encoding="utf-8")

    def bodies(self):
        return [one["body"].rstrip("\n") for one in self.comments]

    def tell(self, state, report=None, shell=("sh",)):
        """Run the script: (exit code, output, errors)."""
        if report is not None:
            self.report.write_text(report, encoding="utf-8")
        done = subprocess.run(list(shell) + [str(GITHUB_SCRIPTS / "hygiene_comment.sh"), str(self.report), state],
                              env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60)
        return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")

    def calls(self):
        """What was asked of gh since the last time."""
        path = self.folder / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return found

    def fail(self, method, path, *lines):
        (self.folder / ("failing-" + method)).write_text("\n".join((path,) + lines) + "\n")


@pytest.fixture
def pull(tmp_path):
    return PullRequest(tmp_path / "pull")


LIST = "GET repos/me/it/issues/7/comments?per_page=100"
REPORT = "- `old.bak`\n\n%s\n" % MARKER
TOLD = "- `old.bak`\n\n\n%s\n\n%s" % (OPT_OUT, MARKER)


@pytest.mark.parametrize("shell", [("sh",), ("dash",), ("bash", "--posix"), ("busybox", "sh")], ids=" ".join)
def test_findings_are_told_in_a_comment_where_there_is_none(pull, shell):
    if not shutil.which(shell[0]):
        pytest.skip("there is no %s (tests/run installs it)" % shell[0])
    assert pull.tell("findings", REPORT, shell) == (
        0, "hygiene_comment.sh: made https://github.example/me/it/pull/7#issuecomment-9001\n", "")
    assert pull.bodies() == [TOLD]
    assert pull.calls() == [LIST, "POST repos/me/it/issues/7/comments"]
    assert [path.name for path in pull.folder.glob("tmp*")] == []


def test_a_report_without_the_marker_gets_it_all_the_same(pull):
    assert pull.tell("findings", "- `old.bak`\n")[0] == 0
    assert pull.bodies() == ["- `old.bak`\n\n%s\n\n%s" % (OPT_OUT, MARKER)]


def test_other_findings_are_told_in_the_same_comment(pull):
    pull.comments = [(11, "ada", "Nice."), (12, BOT, "- `older.bak`\n\n" + MARKER), (13, "ada", "Thanks.")]
    assert pull.tell("findings", REPORT) == (
        0, "hygiene_comment.sh: edited https://github.example/me/it/pull/7#issuecomment-12\n", "")
    assert pull.bodies() == ["Nice.", TOLD, "Thanks."]
    assert pull.calls() == [LIST, "GET repos/me/it/issues/comments/12", "PATCH repos/me/it/issues/comments/12"]


def test_a_comment_that_is_true_already_is_left_as_it_is(pull):
    pull.tell("findings", REPORT)
    pull.calls()
    assert pull.tell("findings", REPORT) == (0, "hygiene_comment.sh: comment 9001 is up to date\n", "")
    assert pull.calls() == [LIST, "GET repos/me/it/issues/comments/9001"]


def test_line_ends_as_githubs_editor_writes_them_are_no_difference(pull):
    pull.comments = [(12, BOT, TOLD.replace("\n", "\r\n"))]
    assert pull.tell("findings", REPORT) == (0, "hygiene_comment.sh: comment 12 is up to date\n", "")


def test_nothing_is_said_where_there_is_nothing_to_tell_and_never_was(pull):
    pull.comments = [(11, "ada", "Nice.")]
    assert pull.tell("clean", REPORT) == (0, "hygiene_comment.sh: nothing to tell\n", "")
    assert pull.bodies() == ["Nice."]
    assert pull.calls() == [LIST]


def test_what_was_told_and_is_mended_is_said_to_be_resolved_in_the_same_comment_once(pull):
    pull.comments = [(12, BOT, TOLD)]
    assert pull.tell("clean", REPORT)[0] == 0
    assert pull.bodies() == [RESOLVED]
    pull.calls()
    assert pull.tell("clean", REPORT) == (0, "hygiene_comment.sh: comment 12 is up to date\n", "")
    assert pull.calls() == [LIST, "GET repos/me/it/issues/comments/12"]


def test_new_findings_after_all_was_resolved_are_told_in_the_same_comment(pull):
    pull.comments = [(12, BOT, RESOLVED)]
    assert pull.tell("findings", REPORT)[0] == 0
    assert pull.bodies() == [TOLD]


@pytest.mark.parametrize("login, body", [
    ("ada", TOLD), ("github-actions", TOLD), ("github-actions[bot]x", TOLD), (None, TOLD), (BOT, None), (BOT, "Built."),
    (BOT, "A test of another workflow failed, it printed:\n\n%s\n\nin line 3" % TOLD)])
def test_a_comment_that_is_not_ours_is_left_alone(pull, login, body):
    pull.comments = [(12, login, body)]
    assert pull.tell("clean", REPORT) == (0, "hygiene_comment.sh: nothing to tell\n", "")
    assert pull.tell("findings", REPORT)[0] == 0
    assert [(one["id"], one["body"]) for one in pull.comments[:1]] == [(12, body)]
    assert [one["id"] for one in pull.comments] == [12, 9001]


@pytest.mark.parametrize("place", [0, 29, 30, 99, 100, 149])
def test_our_comment_is_found_among_a_hundred_and_fifty(pull, place):
    pull.comments = [(number, BOT if number == place else "ada", "old\n\n" + MARKER) for number in range(150)]
    assert pull.tell("findings", REPORT)[0] == 0
    assert [one["id"] for one in pull.comments if one["body"].rstrip() == TOLD] == [place]
    assert len(pull.comments) == 150


def test_the_first_of_two_comments_is_ours_from_then_on(pull):
    pull.comments = [(12, BOT, "old\n\n" + MARKER), (13, BOT, "old\n\n" + MARKER)]
    assert pull.tell("findings", REPORT)[0] == 0
    assert pull.bodies() == [TOLD, "old\n\n" + MARKER]


CUT = "Cut here: a comment holds no more. The artifact `hygiene-reports` has the rest."


@pytest.mark.parametrize("line, kept", [("x" * 99, 650), ("\u00e9" * 99, 326), ("\U0001f9f9" * 9, 1756)])
def test_a_long_report_is_cut_behind_a_whole_line_and_keeps_the_marker(pull, line, kept):
    assert pull.tell("findings", (line + "\n") * 7000 + MARKER + "\n")[0] == 0
    body, = pull.bodies()
    assert body == (line + "\n") * kept + "\n%s\n\n%s\n\n%s" % (CUT, OPT_OUT, MARKER)
    assert len(body.encode("utf-8")) < 65536


def test_a_report_that_just_fits_is_not_cut(pull):
    assert pull.tell("findings", ("x" * 99 + "\n") * 650)[0] == 0
    assert CUT not in pull.bodies()[0]


def test_a_single_line_that_is_too_long_is_left_out(pull):
    assert pull.tell("findings", "y" * 70000)[0] == 0
    assert pull.bodies() == ["\n%s\n\n%s\n\n%s" % (CUT, OPT_OUT, MARKER)]


def test_what_a_cut_leaves_open_is_closed_so_that_the_last_lines_can_be_seen(pull):
    opened = "<details><summary>a</summary>\n\n<details><summary>b</summary>\n\n</details>\n\n"
    assert pull.tell("findings", opened + ("x" * 99 + "\n") * 700 + "\n</details>\n")[0] == 0
    body, = pull.bodies()
    assert body.endswith("x\n\n%s\n\n</details>\n\n%s\n\n%s" % (CUT, OPT_OUT, MARKER))
    assert body.count("<details") == body.count("</details>") == 2


@pytest.mark.parametrize("method, path, present", [
    ("GET", "per_page", True), ("GET", "comments/12", True), ("PATCH", "comments/12", True),
    ("POST", "issues/7", False)])
def test_a_gh_that_fails_is_one_line_and_nothing_comes_after_it(pull, method, path, present):
    pull.comments = [(12, BOT, "old\n\n" + MARKER)] if present else []
    before = pull.comments
    pull.fail(method, path, "", "gh: Resource not accessible by integration (HTTP 403)", "Try something.")
    assert pull.tell("findings", REPORT) == (
        1, "", "hygiene_comment.sh: gh failed: gh: Resource not accessible by integration (HTTP 403)\n")
    assert pull.calls()[-1].startswith(method + " repos/me/it/issues/") and pull.comments == before


def test_a_gh_that_fails_without_a_word_is_one_line_too(pull):
    pull.fail("GET", "per_page")
    assert pull.tell("clean", REPORT) == (1, "", "hygiene_comment.sh: gh failed: it did not say why\n")


def test_a_machine_without_gh_is_one_line_too(pull):
    (pull.folder / "gh").unlink()
    pull.env["PATH"] = str(pull.folder)
    for name in ("mktemp", "rm", "grep", "awk", "head", "cat", "tr"):
        (pull.folder / name).symlink_to(shutil.which(name))
    code, out, err = pull.tell("findings", REPORT, (shutil.which("sh"),))
    assert (code, out) == (1, "")
    assert re.match(r"hygiene_comment\.sh: gh failed: .*gh.*not found\n\Z", err)


@pytest.mark.parametrize("name, value, expected", [
    ("GH_TOKEN", None, "GH_TOKEN is not set"), ("GH_TOKEN", "", "GH_TOKEN is not set"),
    ("REPOSITORY", None, "REPOSITORY is not OWNER/NAME"), ("REPOSITORY", "it", "REPOSITORY is not OWNER/NAME"),
    ("PR", None, "PR is not the number of a pull request"), ("PR", "", "PR is not the number of a pull request"),
    ("PR", "7/../../8", "PR is not the number of a pull request"),
    ("PR", "-7", "PR is not the number of a pull request")])
def test_an_environment_that_cannot_be_right_is_refused_before_anything_is_asked(pull, name, value, expected):
    pull.env.pop(name)
    if value is not None:
        pull.env[name] = value
    assert pull.tell("findings", REPORT) == (2, "", "hygiene_comment.sh: %s\n" % expected)
    assert pull.calls() == []


@pytest.mark.parametrize("state", ["", "unknown", "clean\nfindings"])
def test_a_state_that_is_none_is_refused(pull, state):
    assert pull.tell(state, REPORT) == (
        2, "", "hygiene_comment.sh: the state is neither 'findings' nor 'clean'\n")
    assert pull.calls() == []


def test_a_report_that_is_not_there_is_said(pull):
    assert pull.tell("findings") == (
        1, "", "hygiene_comment.sh: the report %s cannot be read\n" % pull.report)
    assert pull.calls() == []


@pytest.mark.parametrize("program", ["jq", "gojq"])
def test_the_expression_that_finds_our_comment_means_to_jq_what_it_means_to_the_gh_of_these_tests(program):
    if not shutil.which(program):
        pytest.skip("there is no %s" % program)
    comments = [{"id": number, "user": user and {"login": user}, "body": body} for number, (user, body) in enumerate([
        (BOT, TOLD), (BOT, TOLD + "\r\n"), ("ada", TOLD), (None, None), (BOT, None), (BOT, TOLD + "\nmore"),
        (BOT, MARKER)])]
    finder = next(text for text, kind in FINDERS.items() if kind == "find")
    done = subprocess.run([program, finder], input=json.dumps(comments).encode(), stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().split() == ["0", "1", "6"]


# -- the reports

def take_compiled(source, target):
    """Give copies of Python files the compiled files of the originals: to compile takes longest."""
    for path in source.glob("*.py"):
        shutil.copystat(str(path), str(target / path.name))  # by size and time Python knows them
    if (source / "__pycache__").is_dir() and not (target / "__pycache__").exists():
        # Those of other Pythons would count among the files of the checkout.
        (target / "__pycache__").mkdir()
        for path in (source / "__pycache__").glob("*.%s*.pyc" % sys.implementation.cache_tag):
            shutil.copy2(str(path), str(target / "__pycache__"))


DF = """#!/bin/sh
echo 'Filesystem     1024-blocks  Used Available Capacity Mounted on'
echo '/dev/vda           1000000  200000    800000      20% /'
"""


class Checkout:
    """What a runner has for a pull request: a shallow clone at the commit that would be the merge, and a summary."""

    def __init__(self, folder, change, compiled=True):
        self.origin, self.root, self.out = folder / "origin", folder / "clone", folder / "out"
        self.summary_path = folder / "step-summary"
        self.origin.mkdir(parents=True)
        for part, paths in (("", [SCRIPT, REPOSITORY / ".gitignore"]), ("scripts", SCRIPTS.glob("*.*")),
                            ("config", (REPOSITORY / "config").glob("*.json")),
                            (".github/scripts", GITHUB_SCRIPTS.glob("*.*"))):
            (self.origin / part).mkdir(parents=True, exist_ok=True)
            for path in paths:
                shutil.copy(str(path), str(self.origin / part))
        self.write("there before.bak", "told when it came")
        git(self.origin, "init", "-q")
        self.commit("base")
        git(self.origin, "checkout", "-q", "-b", "topic")
        change(self)
        self.commit("change")
        git(self.origin, "checkout", "-q", "main")
        self.write("merged meanwhile.bak", "by another pull request")
        self.commit("another")
        git(self.origin, "merge", "-q", "--no-ff", "-m", "merge", "topic")
        git(folder, "clone", "-q", "--depth", "2", "file://%s" % self.origin, str(self.root))
        for part in (".", "scripts") if compiled else ():
            take_compiled(REPOSITORY / part, self.root / part)
        # How full the disk of this machine is, and whether its df answers, is not what is tested.
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.programs / "df").write_text(DF)
        (self.programs / "df").chmod(0o755)

    def write(self, name, text):
        path = self.origin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def commit(self, message):
        git(self.origin, "add", "-f", "-A")
        git(self.origin, "commit", "-q", "--allow-empty", "-m", message)

    def environment(self):
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PYTHON"))}
        return dict(env, PATH="%s:%s" % (self.programs, os.environ["PATH"]))

    def analyse(self, **more):
        """Run the script as the workflow does: its exit code and output."""
        env = self.environment()
        env.update({"PYTHON": sys.executable, "BASE": "HEAD^1", "GITHUB_STEP_SUMMARY": str(self.summary_path)}, **more)
        command, = [command for command in runs(workflow("symphony-hygiene.yml")) if "hygiene_reports" in command]
        env["RUNNER_TEMP"] = str(self.out)
        done = subprocess.run(["sh", "-e", "-c", command], cwd=str(self.root), env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return done.returncode, done.stdout.decode("utf-8")

    def read(self, name):
        return (self.out / "hygiene" / name).read_text(encoding="utf-8")

    def summary(self):
        return self.summary_path.read_text(encoding="utf-8")


def nothing(checkout):
    checkout.write("src/main.c", "int main(void) { return 0; }\n")


@pytest.fixture
def checkout(tmp_path):
    """A checkout of a pull request that adds one file, which no rule names."""
    return Checkout(tmp_path, nothing)


@pytest.fixture
def fresh_checkout(tmp_path):
    """The same, with nothing beside what git put there."""
    return Checkout(tmp_path, nothing, compiled=False)


def loose_rules(root):
    """Rules by which a file goes at once."""
    (root / "config" / "cleanup_rules.json").write_text(json.dumps({"rules": [
        {"name": "loose", "patterns": ["*.loose"], "older_than": "0.001s", "reason": "a test"}], "protected": []}))


FILES = ["cleanup.md", "cleanup_inventory.json", "cleanup_report.json", "comment.md", "health.txt", "inventory.txt",
         "state", "summary.md"]
# On the runner, no cron calls the conductor.
ALL_WELL = "inventory: exit status 0\nclean-up analysis: exit status 0\nhealth check: exit status 2\n"


def test_a_pull_request_with_nothing_to_tell_is_clean_and_its_summary_says_all_the_same(fresh_checkout):
    checkout = fresh_checkout
    assert checkout.analyse() == (0, ALL_WELL + "added files: exit status 0\n")
    assert checkout.read("state") == "clean\n"
    assert sorted(os.listdir(str(checkout.out / "hygiene"))) == ["added.md"] + FILES
    summary = checkout.summary()
    assert summary == checkout.read("summary.md")
    assert re.findall("(?m)^## .*", summary) == [
        "## Clean-up analysis", "## Files that the pull request adds and a clean-up rule names", "## Inventory",
        "## Health check of the runner: exit status 2"]
    assert "\n## Clean-up analysis\n\n**OK - 0 files to remove (2 matched by a rule, but kept)**\n" in summary
    assert "\n## Files that the pull request adds and a clean-up rule names\n\nnone\n" in summary
    assert re.search(r"\n## Inventory\n\n    OK - [0-9]+ files, .* tracked\) in .*\n", summary)
    assert re.search(r"\n## Health check of the runner: exit status 2\n\n    CRITICAL - .*\n", summary)
    assert MARKER not in summary
    assert json.loads(checkout.read("cleanup_report.json"))["candidates"] == []


def test_the_checkout_is_left_as_it_was_but_for_what_git_ignores(fresh_checkout):
    checkout = fresh_checkout
    checkout.analyse()
    assert git(checkout.root, "status", "--short") == ""
    assert list(checkout.root.rglob("__pycache__")) == []


def rubbish(checkout):
    for name in ("a.bak", "src/b c.tmp", "src/`d|e.orig", "\u00fcber.swp", "secret.bak", "secrets/x.old", "fine.txt"):
        checkout.write(name, "x")
    git(checkout.origin, "mv", "there before.bak", "renamed.bak")


def test_files_that_a_pull_request_adds_and_a_rule_names_are_told_and_no_others(tmp_path):
    checkout = Checkout(tmp_path, rubbish)
    assert checkout.analyse()[0] == 0
    assert checkout.read("state") == "findings\n"
    added = textwrap.dedent("""\
        - `a.bak`: rule `backups`, pattern `*.bak`
        - `renamed.bak`: rule `backups`, pattern `*.bak`
        - ``src/`d|e.orig``: rule `merge-leftovers`, pattern `*.orig`
        - `src/b c.tmp`: rule `temporary`, pattern `*.tmp`
        - `\u00fcber.swp`: rule `swap-files`, pattern `*.swp`
        """)
    assert checkout.read("comment.md").startswith(
        "Clean-up rules name files that this pull request adds:\n\n" + added + "\nNo clean-up touches what git tracks. "
        "`git rm --cached FILE` takes one out and leaves it on the disk;\na protected pattern in "
        "`config/cleanup_rules.json` says that one is here to stay.\n\n"
        "<details><summary>Clean-up analysis of the checkout</summary>\n\n**OK - 0 files to remove (")
    assert checkout.read("comment.md").endswith("\n</details>\n\n\n</details>\n\n%s\n" % MARKER)
    assert checkout.read("comment.md").count(MARKER) == 1
    assert "\n## Files that the pull request adds and a clean-up rule names\n\n" + added + "\n" in checkout.summary()


def test_more_than_fifty_such_files_are_counted(tmp_path):
    checkout = Checkout(tmp_path, lambda made: [made.write("%02d.bak" % number, "x") for number in range(53)])
    assert checkout.analyse()[0] == 0
    lines = checkout.read("added.md").splitlines()
    assert len(lines) == 51
    assert lines[49:] == ["- `49.bak`: rule `backups`, pattern `*.bak`", "- and 3 more"]


def test_without_a_pull_request_no_file_is_an_added_one(tmp_path):
    checkout = Checkout(tmp_path, rubbish)
    assert checkout.analyse(BASE="") == (0, ALL_WELL)
    assert checkout.read("state") == "clean\n"
    assert re.findall("(?m)^## .*", checkout.summary()) == [
        "## Clean-up analysis", "## Inventory", "## Health check of the runner: exit status 2"]
    assert sorted(os.listdir(str(checkout.out / "hygiene"))) == FILES


def test_candidates_in_the_checkout_are_told(checkout):
    loose_rules(checkout.root)
    (checkout.root / "left.loose").write_text("x")
    assert checkout.analyse()[0] == 0
    assert checkout.read("state") == "findings\n"
    assert checkout.read("comment.md").startswith(
        "Candidates for clean-up in the checkout: 1\n\n<details><summary>Clean-up analysis of the checkout</summary>"
        "\n\n**OK - 1 file would be removed")
    assert re.search(r"\| `left\.loose` \| 1 B \| [0-9]+s \| loose \| a test \|", checkout.summary())


def test_a_refused_analysis_is_told_everywhere_and_fails_the_job(checkout):
    loose_rules(checkout.root)
    for number in range(60):
        (checkout.root / ("%d.loose" % number)).write_text("x")
    code, out = checkout.analyse()
    assert (code, out) == (3, "inventory: exit status 0\nclean-up analysis: exit status 3\n::error::clean-up analysis: "
                              "exit status 3\nhealth check: exit status 2\nadded files: exit status 0\n")
    assert checkout.read("state") == "findings\n"
    assert ("\n## Clean-up analysis: refused (exit status 3)\n\n**REFUSED - 60 of "
            in checkout.summary())
    assert "\n## Health check of the runner: exit status 2\n" in checkout.summary()
    assert checkout.read("comment.md").startswith(
        "The clean-up analysis was refused (exit status 3).\n\n<details>")
    assert json.loads(checkout.read("cleanup_report.json"))["verdict"].startswith("REFUSED - ")


def test_rules_that_cannot_be_used_are_told_everywhere_and_an_older_report_is_not_taken_for_this_one(checkout):
    (checkout.root / "cleanup_report.json").write_text('{"candidates": [1, 2, 3]}')
    (checkout.root / "config" / "cleanup_rules.json").write_text("{}")
    code, out = checkout.analyse()
    assert (code, out) == (78, "inventory: exit status 0\nclean-up analysis: exit status 78\n::error::clean-up "
                               "analysis: exit status 78\nhealth check: exit status 2\nadded files: exit status 78\n"
                               "::error::added files: exit status 78\n")
    assert checkout.read("state") == "findings\n"
    assert re.search(r"\n## Clean-up analysis: exit status 78\n\n    cleanup_engine: .*cleanup_rules\.json",
                     checkout.summary())
    assert re.match(
        r"Which files are added could not be told \(exit status 78\):\n\n    added_rubbish: .*(\n    .*)*\n\n"
        r"The clean-up analysis failed \(exit status 78\)\.\n\n<details><summary>Clean-up analysis of the checkout"
        r"</summary>\n\n    cleanup_engine: ", checkout.read("comment.md"))
    assert not (checkout.out / "hygiene" / "cleanup_report.json").exists()


def test_a_base_that_git_does_not_know_is_told_and_fails_the_job(checkout):
    code, out = checkout.analyse(BASE="0123abcd")
    assert (code, out) == (3, ALL_WELL + "added files: exit status 3\n::error::added files: exit status 3\n")
    assert checkout.read("state") == "findings\n"
    assert re.match(r"Which files are added could not be told \(exit status 3\):\n\n"
                    r"    added_rubbish: git failed: fatal: .*0123abcd", checkout.read("comment.md"))
    assert ("\n## Files that the pull request adds and a clean-up rule names: refused (exit status 3)\n"
            in checkout.summary())


def test_a_file_that_the_base_lost_since_is_none_that_the_pull_request_adds(tmp_path):
    checkout = Checkout(tmp_path, lambda made: made.write("mine.bak", "x"))
    git(checkout.origin, "checkout", "-q", "-b", "ahead", "main^1")
    git(checkout.origin, "rm", "-q", "there before.bak")
    checkout.commit("tidy up")
    git(checkout.origin, "checkout", "-q", "topic")
    done = subprocess.run([sys.executable, str(checkout.origin / ".github" / "scripts" / "added_rubbish.py"), "ahead"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    assert done.stdout == b"- `mine.bak`: rule `backups`, pattern `*.bak`\n"


def test_a_base_is_never_an_option_of_git(checkout):
    assert checkout.analyse(BASE="--output=%s" % (checkout.out / "stolen"))[0] == 3
    assert list(checkout.out.glob("stolen*")) == []


def test_an_inventory_that_fails_is_told_and_the_analysis_is_refused_for_it(checkout):
    (checkout.root / "cleanup_inventory.json").mkdir()
    code, out = checkout.analyse()
    assert code == 74
    assert "inventory: exit status 74\n::error::inventory: exit status 74\nclean-up analysis: exit status 3\n" in out
    assert "\n## Inventory: exit status 74\n\n    inventory: " in checkout.summary()
    assert "\n## Clean-up analysis: refused (exit status 3)\n\n**REFUSED - " in checkout.summary()
    assert checkout.read("state") == "findings\n"
    assert not (checkout.out / "hygiene" / "cleanup_inventory.json").exists()


def test_the_health_of_the_runner_is_told_and_decides_nothing(checkout):
    folder = checkout.root / "status" / "automation_health"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / (name + ".health")).write_text("failed:2025-06-02T10:00:00Z:1\n")
    assert checkout.analyse()[0] == 0
    assert "\n## Health check of the runner: exit status 2\n\n    CRITICAL - " in checkout.summary()
    assert checkout.read("state") == "clean\n"


def test_a_health_check_that_does_not_run_fails_the_job(checkout):
    (checkout.root / "scripts" / "quick_health_check.sh").unlink()
    code, out = checkout.analyse()
    assert (code, "::error::health check: exit status 127\n" in out) == (127, True)


def test_a_second_run_leaves_nothing_of_the_first_and_takes_nothing_of_anybody_else(tmp_path):
    checkout = Checkout(tmp_path, rubbish)
    checkout.analyse()
    (checkout.out / "hygiene" / "notes.md").write_text("somebody else's")
    assert checkout.analyse(BASE="")[0] == 0
    assert sorted(os.listdir(str(checkout.out / "hygiene"))) == sorted(FILES + ["notes.md"])


def test_without_a_step_summary_the_summary_is_printed(checkout):
    code, out = checkout.analyse(GITHUB_STEP_SUMMARY="")
    assert code == 0 and out.endswith(checkout.read("summary.md"))


def test_a_summary_of_the_steps_before_is_kept(checkout):
    checkout.summary_path.write_text("before\n")
    checkout.analyse()
    assert checkout.summary() == "before\n" + checkout.read("summary.md")


def test_the_reports_of_a_checkout_become_a_comment_that_is_resolved_when_the_files_are_gone(tmp_path, pull):
    checkout = Checkout(tmp_path / "one", rubbish)
    mended = Checkout(tmp_path / "two", nothing)
    for made in (checkout, mended):
        assert made.analyse()[0] == 0
        assert pull.tell(made.read("state").strip(), made.read("comment.md"))[0] == 0
        if made is checkout:
            assert pull.bodies()[0].startswith("Clean-up rules name files that this pull request adds:\n\n- `a.bak`:")
            assert pull.bodies()[0].endswith("\n</details>\n\n\n%s\n\n%s" % (OPT_OUT, MARKER))
    assert pull.bodies() == [RESOLVED]


def test_where_a_conductor_has_run_the_week_is_told_ahead_of_all(tmp_path):
    checkout = Checkout(tmp_path, nothing)
    conductor = str(checkout.root / "symphony_conductor.py")
    ran = subprocess.run([sys.executable, conductor, "run", "--task", "health_check"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, env=checkout.environment())
    assert ran.returncode == 2  # no tick has run
    code, out = checkout.analyse()
    assert "report: exit status 0\n" in out
    summary = checkout.read("summary.md")
    assert summary.startswith("\n## The last seven days\n\n") and "health_check" in summary.split("## Clean-up")[0]
    assert checkout.read("report.md") in summary


def test_the_scripts_say_how_they_are_called(tmp_path):
    done = subprocess.run(["sh", str(GITHUB_SCRIPTS / "hygiene_reports.sh")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, b"hygiene_reports.sh: it takes the folder to write to\n")
    done = subprocess.run(["sh", str(GITHUB_SCRIPTS / "hygiene_comment.sh")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, b"hygiene_comment.sh: it takes a report and a state\n")
    done = subprocess.run([sys.executable, str(GITHUB_SCRIPTS / "added_rubbish.py"), "--help"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=str(tmp_path))
    assert done.returncode == 0 and b"added_rubbish.py BASE" in done.stdout
