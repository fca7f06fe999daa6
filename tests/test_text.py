"""Durations, sizes, lists of words and columns as a person reads them."""

import pytest

import symphony_conductor as sc

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize("text, seconds", [
    ("90s", 90), ("30m", 1800), ("26h", 93600), ("14d", 1209600), ("2w", 1209600), ("1.5h", 5400),
    ("999999s", 999999)])
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert sc.seconds_of(text) == seconds


@pytest.mark.parametrize("text, example", [
    ("7", "7d"), ("", "26h"), ("1000000d", "26h"), ("1000000", "26h"), ("2y", "26h"), ("-1d", "26h"),
    ("1d ", "26h"), (".5h", "26h")])
def test_what_is_no_duration_is_told_with_an_example(text, example):
    with pytest.raises(ValueError) as caught:
        sc.seconds_of(text)
    assert str(caught.value) == (
        "%r is not a duration; write a number and a unit (s, m, h, d, w), such as %s" % (text, example))


def test_a_long_text_in_place_of_a_duration_is_cut_to_60_columns():
    with pytest.raises(ValueError) as caught:
        sc.seconds_of("x" * 61)
    assert str(caught.value).startswith("'%s...' is not a duration" % ("x" * 57))


@pytest.mark.parametrize("number, more, expected", [
    (0, (), "0 files"), (1, (), "1 file"), (2, (), "2 files"), (1, ("folk",), "1 file"), (2, ("folk",), "2 folk")])
def test_one_is_singular_and_the_rest_plural(number, more, expected):
    assert sc.plural(number, "file", *more) == expected


@pytest.mark.parametrize("at, expected", [
    (None, None), (0, "1970-01-01T00:00:00Z"), (1748858400.9, "2025-06-02T10:00:00Z")])
def test_a_stored_time_is_iso_8601_in_utc(at, expected):
    assert sc.iso(at) == expected


@pytest.mark.parametrize("seconds, expected", [
    (-1, "0s"), (0, "0s"), (1, "1s"), (59.9, "59s"), (60, "1m"), (119, "1m"), (120, "2m"), (3599, "59m"),
    (HOUR, "1h"), (HOUR + 59, "1h"), (HOUR + 60, "1h 1m"), (HOUR + 119, "1h 1m"),
    (3 * HOUR + 20 * MINUTE, "3h 20m"), (DAY - 1, "23h 59m"), (DAY, "1d"), (DAY + HOUR - 1, "1d"),
    (DAY + HOUR, "1d 1h"), (12 * DAY + 4 * HOUR + 1800, "12d 4h")])
def test_a_length_of_time_has_two_units_at_most(seconds, expected):
    assert sc.duration_text(seconds) == expected


@pytest.mark.parametrize("words, expected, some", [
    ("a", "a", "a"), ("a b", "a and b", "a and b"), ("a b c", "a, b and c", "a, b and c"),
    ("a b c d e", "a, b, c, d and e", "a, b, c, d and e"),
    ("a b c d e f", "a, b, c, d, e and f", "a, b, c, d, e and 1 more"),
    ("a b c d e f g", "a, b, c, d, e, f and g", "a, b, c, d, e and 2 more")])
def test_words_are_joined_as_in_a_sentence_the_first_five_of_many(words, expected, some):
    assert sc.join_words(words.split()) == expected
    assert sc.some_words(words.split()) == some


@pytest.mark.parametrize("command, expected", [
    ("a 'b' | c", "a 'b' | c"), (["a", "b c", "$d"], "a 'b c' '$d'"), ([], "")])
def test_a_command_is_shown_as_a_shell_would_take_it(command, expected):
    assert sc.command_text(command) == expected


def test_columns_are_as_wide_as_their_widest_cell_and_the_last_is_not_padded():
    assert sc.columns([["a", "bb", "c"], ["aaa", "", "ccc"], ["a", "b", ""]]) == (
        "a    bb  c\n"
        "aaa      ccc\n"
        "a    b")
    assert sc.columns([["only"], ["one"]]) == "only\none"
    assert sc.columns([["", "x"], ["", "y"]]) == "  x\n  y"


@pytest.mark.parametrize("number, expected", [
    (0, "0 B"), (512, "512 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1331, "1.3 KiB"),
    (1023.9 * 1024, "1023.9 KiB"), (1 << 20, "1.0 MiB"), (62 << 30, "62.0 GiB"), (1 << 40, "1.0 TiB"),
    (5000 << 40, "5000.0 TiB")])
def test_a_size_has_the_unit_that_keeps_it_below_1024(number, expected):
    assert sc.size_text(number) == expected


@pytest.mark.parametrize("text, limit, expected", [
    ("a\tb\n\x1bc  d", 200, "a b c d"),
    ("x" * 200, 200, "x" * 200),
    ("x" * 201, 200, "x" * 197 + "..."),
    ("a" + " " * 39 + "b", 10, "a"),  # of a text of any length, four times the limit is looked at
    ("a" + " " * 38 + "b", 10, "a b"),
])
def test_a_plain_line_has_nothing_that_a_terminal_acts_on(text, limit, expected):
    assert sc.plain_line(text, limit) == expected


def test_a_plain_line_has_200_columns_unless_told():
    assert len(sc.plain_line("x" * 300)) == 200


@pytest.mark.parametrize("text, expected", [
    ("", ""), ("\n \n", ""), ("one", "one"), ("one\ntwo\tof it\n\n \n", "two of it"), ("a\nb\nc", "c")])
def test_the_last_line_is_the_last_that_is_not_blank(text, expected):
    assert sc.last_line(text) == expected


@pytest.mark.parametrize("text, width, expected", [
    ("abcdef", 6, "abcdef"), ("abcdefg", 6, "abc..."), ("abcd", 3, "..."), ("abcd", 2, "..."),
    ("", 0, "")])
def test_what_is_cut_ends_in_dots(text, width, expected):
    assert sc.cut_text(text, width) == expected


@pytest.mark.parametrize("text, width, expected", [
    ("aa bb cc", 8, "aa bb cc"),
    ("aa bb cc", 7, "aa bb\n  cc"),
    ("aa bb cc dd", 5, "aa bb\n  cc\n  dd"),
    ("aa bb cc dd", 7, "aa bb\n  cc dd"),
    ("  aa bb", 6, "  aa\n  bb"),
    ("  aa bb", 7, "  aa bb"),
    ("longer b", 4, "longer\n  b"),
    ("", 4, "")])
def test_words_are_wrapped_at_blanks(text, width, expected):
    assert sc.wrap_words(text, width) == expected


def test_wrapped_lines_begin_as_told():
    assert sc.wrap_words("aa bb cc", 3, indent="> ") == "aa\n> bb\n> cc"


@pytest.mark.parametrize("text, expected", [
    ("\x1b[1;31mred\x1b[0m", "red"), ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07"),
    ("tab\tand\nline", "tab\tand\nline"), ("\x00\x1f\x7f\x9f", "\\x00\\x1f\\x7f\\x9f"),
    ("\u202egnp.exe\u2069", "\\u202egnp.exe\\u2069"), ("\u00e4\u20ac", "\u00e4\u20ac")])
def test_a_terminal_gets_no_control_character_that_somebody_else_wrote(text, expected):
    assert sc.printable(text) == expected


def test_which_control_characters_stay_may_be_told():
    assert sc.printable("a\tb\nc\r", kept="\t") == "a\tb\\nc\\r"
