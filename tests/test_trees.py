"""What the shipped rules take of trees whose files are labelled: see trees.py."""

import shutil

import pytest
import trees

LEAST = 95.0  # per cent of the rubbish, by files and by bytes


class Result:
    """One tree, and what is taken of it."""

    def __init__(self, folder, name, rules):
        self.tree = trees.LabelledTree(folder, name)
        self.document = self.tree.inventory()
        self.plan = self.tree.plan(rules, self.document)
        self.taken = trees.taken_by_rule(self.tree, self.plan)

    def labelled(self, label):
        return [path for path in self.tree.labels if self.tree.labels[path] == label]

    def recall(self):
        """(per cent of the files, per cent of the bytes) of the rubbish that goes."""
        rubbish = self.labelled(trees.RUBBISH)
        gone = [path for path in rubbish if path in self.taken]
        sizes = self.tree.sizes
        return (trees.share(len(gone), len(rubbish)),
                trees.share(sum(map(sizes.get, gone)), sum(map(sizes.get, rubbish))))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    if not shutil.which("git"):
        pytest.skip("there is no git (tests/run installs it)")
    folder, rules = tmp_path_factory.mktemp("trees"), trees.shipped_rules()
    return {name: Result(folder / name.replace(" ", "-"), name, rules) for name in trees.TREES}


@pytest.mark.parametrize("name", sorted(trees.TREES))
def test_the_shipped_rules_take_nothing_that_a_person_would_keep(results, name):
    result = results[name]
    for label in (trees.TREASURE, trees.DOUBTFUL):
        assert [path for path in result.labelled(label) if path in result.taken] == []


@pytest.mark.parametrize("name", sorted(trees.TREES))
def test_they_take_nearly_all_that_a_person_calls_rubbish(results, name):
    assert min(results[name].recall()) >= LEAST


def test_the_plan_of_no_tree_is_out_of_the_ordinary(results):
    assert {name: result.plan.refused for name, result in results.items()} == dict.fromkeys(
        results, "")


def test_every_file_has_a_label_and_every_label_a_file(results):
    for result in results.values():
        path_at = result.document["fields"].index("path")
        assert sorted(row[path_at] for row in result.document["files"]) == sorted(
            result.tree.labels)


def test_each_tree_has_files_of_each_label(results):
    for result in results.values():
        numbers = [len(result.labelled(label)) for label in trees.LABELS]
        assert min(numbers) >= 4, (result.tree.name, numbers)


def test_every_shipped_rule_has_rubbish_to_take(results):
    taken = {rule for result in results.values() for rule in result.taken.values()}
    on = {rule.name for rule in trees.shipped_rules().rules if rule.enabled}
    assert on - taken == {"sass-cache", "next"}


def test_names_as_git_prints_them_are_read():
    assert trees.unquoted("a b") == "a b"
    assert trees.unquoted(r'"caf\351 \"x\".txt"') == 'caf\udce9 "x".txt'
