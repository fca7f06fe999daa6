"""Rules of the configuration at their edges: amounts of memory, intervals, codes said twice."""

import pytest

import symphony_conductor as sc


@pytest.mark.parametrize("limit, number", [
    (1000, 1000), ("1M", 1048576), ("512M", 536870912), ("2G", 2147483648), ("1T", 1099511627776)])
def test_an_amount_of_memory_is_bytes_or_a_number_and_a_unit(limit, number):
    assert sc.bytes_of(limit) == number


def test_the_shortest_interval_is_that_of_the_next_eight():
    """They are two days apart, and the ninth is one."""
    task = sc.Task(name="job", timezone="UTC",
                   schedule=sc.CronSchedule("0 0 1,3,5,7,9,11,13,15,17,18 * *"))
    assert sc.shortest_interval(task, 1698753600) == 2 * 86400  # noon of October 31st
    assert sc.shortest_interval(task, 1698753600, slots=9) == 86400


def test_each_exit_code_that_is_both_a_success_and_a_skip_is_told_once():
    found = sc._exit_code_problems({"success_exit_codes": [0, 3, 4], "skip_exit_codes": [3, 5, 4, 3]},
                                   "config.json: tasks[0] 'job'", "job")
    assert [str(problem) for problem in found] == [
        "config.json: tasks[0] 'job': skip_exit_codes: %d is also a success "
        "(remove it here or from success_exit_codes)" % code for code in (3, 4)]
    for problem in found:
        assert (problem.task, problem.field, problem.hint, problem.warning) == (
            "job", "skip_exit_codes", "remove it here or from success_exit_codes", False)
    assert [problem.text for problem in sc._exit_code_problems({"skip_exit_codes": [0]}, "", "")] == [
        "skip_exit_codes: 0 is also a success"]
    assert sc._exit_code_problems({}, "", "") == []
