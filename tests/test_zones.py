"""Time zones and stored times: spans of constant offset, names, ISO 8601."""

import collections
import os
import struct
import time

import pytest

import symphony_conductor as sc

BLOCK = 1 << 25
STEP = 6 * 86400
HOUR = 3600
Local = collections.namedtuple("Local", "tm_gmtoff")

needs_zones = pytest.mark.skipif(not sc.has_zone_data(), reason="there is no zone data (install tzdata)")

# The smallest file of a zone, as tzfile(5) has it: one offset, and its name.
WHOLE = (b"TZif" + bytes(16) + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 0, 0, 0)
         + b"UTC\0")


# -- spans

@needs_zones
@pytest.mark.parametrize("at, span", [
    ("2025-04-16T19:07:44Z", (1744830464, 1761440400, 7200, 7200)),  # the block begins
    ("2025-10-26T00:59:59Z", (1744830464, 1761440400, 7200, 7200)),
    ("2025-10-26T01:00:00Z", (1761440400, 1774746000, 3600, 7200)),
    ("2026-03-29T00:59:59Z", (1761440400, 1774746000, 3600, 7200)),
    ("2026-03-29T01:00:00Z", (1774746000, 1778384896, 7200, 3600)),
    ("2026-05-10T03:48:15Z", (1774746000, 1778384896, 7200, 3600)),
])
def test_the_spans_of_paris(at, span):
    zone = sc.Zone("Europe/Paris")
    assert zone.span(sc.from_iso(at)) == span
    assert zone.span(span[0]) == span
    assert zone.span(span[1] - 1) == span


@needs_zones
def test_a_span_that_was_asked_for_last_is_not_looked_up_again(monkeypatch):
    zone = sc.Zone("Europe/Paris")
    start, end = zone.span(sc.from_iso("2026-01-01T00:00:00Z"))[:2]
    zone._blocks.clear()
    monkeypatch.setattr(sc.Zone, "_read_block", lambda zone, start: [(start, start + BLOCK, 1, 1)])
    assert {zone.span(at)[2] for at in (start, start + 1, end - 2, end - 1)} == {3600}
    assert zone.span(end)[2] == 1


@pytest.mark.parametrize("at, span", [
    (0, (0, BLOCK, 0, 0)), (-1, (-BLOCK, 0, 0, 0)), (BLOCK - 1, (0, BLOCK, 0, 0)),
    (BLOCK, (BLOCK, 2 * BLOCK, 0, 0))])
def test_the_spans_of_utc_are_the_blocks(at, span):
    assert sc.Zone("UTC").span(at) == span


def test_a_block_is_read_once(monkeypatch):
    starts, read = [], sc.Zone._read_block
    monkeypatch.setattr(sc.Zone, "_read_block",
                        lambda zone, start: starts.append(start) or read(zone, start))
    zone = sc.Zone("UTC")
    for at in (5, BLOCK + 5, 6, BLOCK + 6):
        zone.span(at)
    assert starts == [0, BLOCK]


@pytest.mark.parametrize("before", [None, "Asia/Tokyo"])
def test_the_caller_s_tz_is_left_as_it_was(monkeypatch, before):
    if before is not None:
        monkeypatch.setenv("TZ", before)
    assert sc.Zone("UTC").span(0)[2] == 0
    assert os.environ.get("TZ") == before
    shown = time.strftime("%z", time.localtime(0))
    time.tzset()
    assert time.strftime("%z", time.localtime(0)) == shown


@pytest.mark.parametrize("changes", [
    (), (0,), (1,), (2,), (STEP - 1,), (STEP,), (STEP + 1,), (2 * STEP - 1,), (2 * STEP,),
    (3 * STEP - 1,), (3 * STEP,), (3 * STEP + 1,), (5, STEP + 5), (1, STEP + 1, 2 * STEP + 1),
    (STEP, 2 * STEP), (3 * STEP + 9,), (STEP // 2, 3 * STEP + 9), (-1,), (-2, 1)])
def test_every_change_of_the_offset_is_found_to_the_second(monkeypatch, changes):
    """Three steps and ten seconds, with offsets that grow by an hour at each change."""
    start, end = 1000, 1000 + 3 * STEP + 10

    def offset(at):
        return HOUR * sum(at >= start + change for change in changes)

    monkeypatch.setattr(sc.time, "localtime", lambda at: Local(offset(at)))
    edges = [start] + [start + change for change in changes if change > 0] + [end]
    assert list(sc.Zone._spans_between(start, end)) == [
        (low, high, offset(low), offset(low - 1)) for low, high in zip(edges, edges[1:])]


# -- names

@pytest.fixture
def zones(tmp_path, monkeypatch):
    """A folder of zones, the only one of this system."""
    monkeypatch.setattr(sc, "_zone_folders", lambda: [str(tmp_path / "none"), str(tmp_path)])
    monkeypatch.setattr(sc, "_ZONES", {})

    def put(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(WHOLE)
        return tmp_path
    return put


def test_zones_are_looked_for_where_tzdir_says_and_where_systems_have_them(monkeypatch):
    usual = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo",
             "/var/db/timezone/zoneinfo"]
    monkeypatch.setenv("TZDIR", "/srv/zones")
    assert sc._zone_folders() == ["/srv/zones"] + usual
    monkeypatch.setenv("TZDIR", "")
    assert sc._zone_folders() == usual
    monkeypatch.delenv("TZDIR")
    assert sc._zone_folders() == usual


def test_one_well_known_zone_shows_that_there_is_zone_data(zones):
    assert sc.has_zone_data() is False
    zones("Asia/Tokyo")
    assert sc.has_zone_data() is True


@pytest.mark.parametrize("name, exists", [
    ("UTC", True), ("GMT", True), ("Europe/Paris", True), ("Etc/GMT+5", True), ("EST5EDT", True),
    ("Europe", False), ("Europe/Oslo", False), ("Europe/Nowhere", False), ("../Europe/Paris", False),
    ("/Europe/Paris", False), ("right/Europe/Paris", False), ("posixrules", False), ("5EST", False),
    ("Europe/Paris\n", False), ("Europe//Paris", False), ("", False)])
def test_a_zone_is_a_file_of_zone_data_below_one_of_the_folders(zones, name, exists):
    folder = zones("Europe/Paris", "Etc/GMT+5", "EST5EDT", "right/Europe/Paris", "posixrules", "5EST")
    (folder / "Europe" / "Oslo").write_bytes(b"")
    assert sc._zone_exists(name) is exists


def test_names_of_zones_leave_out_tables_and_second_copies(zones):
    zones("Europe/Paris", "UTC", "posix/Europe/Paris", "right/Europe/Paris", "zone.tab", "leapseconds",
          "Leap.list", "America/Indiana/Knox")
    assert sorted(sc._zone_names()) == ["America/Indiana/Knox", "Europe/Paris", "UTC"]


@pytest.mark.parametrize("name, hint", [
    ("europe/paris", "did you mean 'Europe/Paris'?"),
    ("Europe/Pariss", "did you mean 'Europe/Paris'?"),
    ("paris", "did you mean 'Europe/Paris'?"),
    (" Paris ", "did you mean 'Europe/Paris'?"),
    ("new  york", "did you mean 'America/New_York'?"),
    ("America/New York", "did you mean 'America/New_York'?"),
    ("Europe/Paris", "use an IANA name such as Europe/Paris or UTC"),  # its file is damaged
    ("york", "use an IANA name such as Europe/Paris or UTC"),
    ("Atlantis", "use an IANA name such as Europe/Paris or UTC"),
    ("", "use an IANA name such as Europe/Paris or UTC"),
])
def test_the_hint_to_an_unknown_zone(zones, name, hint):
    zones("Europe/Paris", "Europe/Pari", "America/New_York", "Europe/Berlin")
    assert sc._zone_hint(name) == hint


def zone_file(version=b"2", moments=(5,), types=((3600, 1, 0),), names=b"CET\0", leaps=0, flags=0):
    """A file of a zone, as tzfile(5) has it."""
    data = b""
    for width in (4, 8) if version >= b"2" else (4,):
        data += struct.pack(">4sc15x6L", b"TZif", version, flags, flags, leaps, len(moments), len(types), len(names))
        data += b"".join(struct.pack(">" + "lq"[width == 8], moment) for moment in moments)
        data += bytes(len(moments)) + b"".join(struct.pack(">lBB", *each) for each in types) + names
        data += bytes(leaps * (width + 4) + 2 * flags)
    return data


@pytest.mark.parametrize("version", [b"\0", b"2"])
@pytest.mark.parametrize("leaps", [0, 1, 2, 5])
@pytest.mark.parametrize("flags", [0, 1])
def test_a_zone_is_whole_or_no_zone(version, leaps, flags):
    data = zone_file(version, leaps=leaps, flags=flags)
    assert sc._is_zone_data(data) and sc._is_zone_data(data + b"\nCET-1\n")
    for size in list(range(45)) + [len(data) - 7, len(data) - 1]:
        assert not sc._is_zone_data(data[:size])


@pytest.mark.parametrize("is_zone, more", [
    (True, {"types": ((93600, 0, 0), (-93600, 1, 3))}),  # 26 hours, and an empty name
    (False, {"types": ((93601, 0, 0),)}), (False, {"types": ((-93601, 0, 0),)}),
    (False, {"types": ((0, 2, 0),)}), (False, {"types": ((0, 0, 4),)}), (False, {"types": ()}),
    (True, {"names": b"~\x7f\0"}), (False, {"names": b"~\x80\0"}), (False, {"names": b"CET"}),
    (True, {"moments": (-5, 4, 5)}), (False, {"moments": (4, 4)}), (False, {"moments": (5, 4)})])
def test_what_a_zone_says_is_possible(is_zone, more):
    assert sc._is_zone_data(zone_file(**more)) is is_zone


def test_a_damaged_file_is_no_zone_and_is_not_proposed(zones):
    folder = zones("Europe/Paris")
    (folder / "Europe" / "Oslo").write_bytes(b"TZ")
    with pytest.raises(sc.ConductorError) as caught:
        sc.zone_named("Europe/Oslo")
    assert "unknown time zone 'Europe/Oslo'" in str(caught.value)
    assert sc._zone_hint("Europe/Oslo") == "use an IANA name such as Europe/Paris or UTC"


def test_a_system_without_zone_data_needs_it(zones):
    assert sc._zone_hint("Europe/Paris") == "no zone data on this machine: install tzdata"


def test_a_zone_is_made_once_and_an_unknown_one_never(zones):
    zones("Europe/Paris")
    zone = sc.zone_named("Europe/Paris")
    assert sc.zone_named("Europe/Paris") is zone and zone.name == "Europe/Paris"
    for name, shown in (("", "''"), ("x" * 61, "'%s...'" % ("x" * 57)), ("x" * 60, repr("x" * 60))):
        with pytest.raises(sc.ConductorError) as caught:
            sc.zone_named(name)
        assert "unknown time zone " + shown in str(caught.value)


# -- times

DAY_BEGINS = 1748822400  # 2025-06-02


@pytest.mark.parametrize("text, at", [
    ("2025-06-02T00:00:00Z", DAY_BEGINS),
    ("2025-06-02T10:00:00Z", DAY_BEGINS + 36000),
    ("2025-06-02T23:59:59Z", DAY_BEGINS + 86399),
    ("2025-06-02T01:02:03Z", DAY_BEGINS + 3723),
    ("2025-06-02T10:00:00", DAY_BEGINS + 36000),
    ("2025-06-02T10:00", DAY_BEGINS + 36000),
    ("2025-06-02 10:00", DAY_BEGINS + 36000),
    ("2025-06-02", DAY_BEGINS),
    ("2025-06-02T10:00:00.75Z", DAY_BEGINS + 36000),
    ("2025-06-02T10:00:00+02:00", DAY_BEGINS + 28800),
    ("2025-06-02T10:00:00+0230", DAY_BEGINS + 27000),
    ("2025-06-02T10:00:00-05:30", DAY_BEGINS + 55800),
    ("2025-06-02T10:00:00+10:00", DAY_BEGINS),
    ("9999-12-31T23:59:59Z", 253402300799),
    ("2025-06-02 10:00 Z", DAY_BEGINS + 36000),
    ("1969-12-31T23:59:59Z", -1),
    (None, None),
])
def test_a_stored_time_is_read_back(monkeypatch, text, at):
    monkeypatch.setattr(sc, "_DAY_STARTS", {})
    assert sc.from_iso(text) == at
    assert sc.from_iso(text) == at  # its day is known by now


def test_the_days_of_stored_times_are_worked_out_once(monkeypatch):
    """A history has the same few days in all its lines."""
    monkeypatch.setattr(sc, "_DAY_STARTS", {})
    assert sc.from_iso("2025-06-02T10:00:00Z") == DAY_BEGINS + 36000
    monkeypatch.setattr(sc, "TIME_PATTERN", "no other text is read")
    for text, second in (("00:00:00", 0), ("00:00:59", 59), ("00:59:00", 3540), ("23:00:00", 82800),
                         ("01:02:03", 3723), ("19:48:57", 71337), ("23:59:59", 86399)):
        assert sc.from_iso("2025-06-02T%sZ" % text) == DAY_BEGINS + second
    for text in ("2025-06-03T00:00:00Z", "2025-06-02T24:00:00Z", "2025-06-02T00:00:00ZZ"):
        with pytest.raises(ValueError):
            sc.from_iso(text)


@pytest.mark.parametrize("text", [
    "2025-06-02T24:00:00Z", "2025-06-02T10:60:00Z", "2025-06-02T10:00:60Z", "2025-06-02T1x:00:00Z",
    "2025-06-02T10:0x:00Z", "2025-06-02T10:00:-1Z", "2025-06-02T10:00:00ZZ", "2025-06-02T10-00:00Z",
    "2025-06-02x10:00:00Z", "2025-06-02T10:00:00X", "2025-06-02T10:00:0Z", "2025-02-30T10:00:00Z",
    "2025-06-02T10", "", "now"])
def test_what_is_no_time_is_none_whether_or_not_its_day_is_known(monkeypatch, text):
    monkeypatch.setattr(sc, "_DAY_STARTS", {})
    for _ in range(2):
        with pytest.raises(ValueError):
            sc.from_iso(text)
        assert sc.from_iso("2025-06-02T23:59:59Z") == DAY_BEGINS + 86399


@pytest.mark.parametrize("zeros", [34, 35])
def test_a_time_beyond_the_years_of_utc_is_refused(zeros):
    text = "9999-12-31T23:59:00." + "0" * zeros + "-00:01"
    shown = text if len(text) <= 60 else text[:57] + "..."
    with pytest.raises(ValueError) as caught:
        sc.from_iso(text)
    assert str(caught.value) == "%r is not in the years 1 to 9999 of UTC" % shown


def test_a_long_text_in_place_of_a_time_is_cut():
    with pytest.raises(ValueError) as caught:
        sc.from_iso("x" * 61)
    assert str(caught.value) == "'%s...' is not a time such as 2025-06-02T10:00 or 2025-06-02T10:00:00Z" % (
        "x" * 57)


@needs_zones
@pytest.mark.parametrize("zone, text, utc", [
    ("Europe/Paris", "2025-06-02T10:00", "2025-06-02T08:00:00Z"),
    ("Europe/Paris", "2025-06-02T10:00Z", "2025-06-02T10:00:00Z"),
    ("Europe/Paris", "2025-06-02T10:00+05:00", "2025-06-02T05:00:00Z"),
    ("Europe/Paris", "2025-03-30T01:59:59", "2025-03-30T00:59:59Z"),
    ("Europe/Paris", "2025-03-30T02:00:00", "2025-03-30T01:00:00Z"),  # skipped, as the next two
    ("Europe/Paris", "2025-03-30T02:30:00", "2025-03-30T01:30:00Z"),
    ("Europe/Paris", "2025-03-30T02:59:59", "2025-03-30T01:59:59Z"),
    ("Europe/Paris", "2025-03-30T03:00:00", "2025-03-30T01:00:00Z"),
    ("Europe/Paris", "2025-10-26T01:59:59", "2025-10-25T23:59:59Z"),
    ("Europe/Paris", "2025-10-26T02:00:00", "2025-10-26T00:00:00Z"),  # comes twice, as the next
    ("Europe/Paris", "2025-10-26T02:59:59", "2025-10-26T00:59:59Z"),
    ("Europe/Paris", "2025-10-26T03:00:00", "2025-10-26T02:00:00Z"),
    ("America/New_York", "2025-11-02T01:30:00", "2025-11-02T05:30:00Z"),
    ("America/New_York", "2025-03-09T02:30:00", "2025-03-09T07:30:00Z"),
    ("America/New_York", "2025-03-09T03:30:00", "2025-03-09T07:30:00Z"),
    ("Pacific/Apia", "2011-12-29T23:59:59", "2011-12-30T09:59:59Z"),
    ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T22:00:00Z"),  # a day that never was
    ("Pacific/Apia", "2011-12-31T00:00:00", "2011-12-30T10:00:00Z"),
])
def test_a_wall_time_is_the_first_of_two_and_a_skipped_one_has_the_offset_from_before(zone, text, utc):
    assert sc.iso(sc.from_iso(text, sc.zone_named(zone))) == utc


@pytest.mark.parametrize("error", [RuntimeError("offset"), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")])
def test_a_zone_that_python_cannot_name_is_set_all_the_same(monkeypatch, error):
    """The C library has read TZ by then; what fails is to tell Python the names of the time."""
    def tzset():
        raise error

    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(sc.time, "tzset", tzset)
    sc._set_tz("Etc/Odd")
    assert os.environ["TZ"] == "Etc/Odd"
