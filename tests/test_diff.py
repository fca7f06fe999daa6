"""What `diff` compares: output in its normal form, and the definitions as far as they are kept."""

import pytest

import symphony_diff


@pytest.mark.parametrize("output, lines", [
    ("took 3 s\n", ["took <duration>"]),  # of a log without headers
    ("--- 2025-06-02T04:00:00Z start run=r1 pid=77 frame=ab12\npid is 77\n"
     "--- 2025-06-02T04:00:00Z end run=r9 was printed\n"
     "--- 2025-06-02T04:00:01Z end run=r1 exit=0 frame=ab12\n",
     ["pid is <pid>", "--- <time> end run=r9 was printed"]),
    ("", []),
])
def test_the_normal_form_of_an_output(output, lines):
    assert symphony_diff.normalised(output) == lines


@pytest.mark.parametrize("before, after, changes", [
    ({"command": "a"}, {"command": "a"}, []),
    ({"command": "a"}, {"command": "b", "timeout": 5}, ['command: "a" -> "b"', "timeout: null -> 5"]),
    ({"env": {"A": "secret"}}, {}, ["env: A changed"]),
    ({}, {"env": {"A": "secret", "B": ""}}, ["env: A, B changed"]),
])
def test_what_changed_in_a_definition(before, after, changes):
    assert symphony_diff.definition_changes(before, after) == changes


def test_a_definition_that_is_no_longer_kept_is_said_to_be_so(project):
    project.configure({"name": "a", "command": "test -e good", "retry_count": 0})
    (project.root / "good").write_text("")
    assert project.call("run", "--task", "a")[0] == 0
    (project.root / "good").unlink()
    assert project.call("run", "--task", "a")[0] == 1
    kept = list((project.root / "status" / "definitions").glob("*.json"))
    assert kept
    for path in kept:
        path.unlink()
    code, out, err = project.call("diff", "a")
    assert (code, err) == (0, "")
    assert out.startswith("definition: no longer on record\n")
