"""The table of README.md that compares this scheduler with its peers, and the command behind it."""

import re

import on_peers
import pytest
from support import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## How it compares"):README.index("## Exit status")]
HEAD, _, *TABLE = [[cell.strip() for cell in line.strip("|").split("|")]
                   for line in SECTION.splitlines() if line.startswith("|")]


def test_the_rows_of_the_table_are_those_that_the_command_tries():
    assert [row[0] for row in TABLE] == [title for _, title in on_peers.ROWS]
    assert len(TABLE) <= 16


def test_the_columns_of_the_table_are_the_peers_that_the_command_tries_with_their_versions():
    names = [peer.name for peer in on_peers.PEERS]
    assert [re.sub(r" \d\S*$", "", title) for title in HEAD[1:]] == names
    assert all(re.search(r" \d\S*$", title) for title in HEAD[2:])


@pytest.mark.parametrize("peer", on_peers.PEERS, ids=lambda peer: peer.name)
def test_every_row_is_tried_on_every_peer(peer):
    for key, _ in on_peers.ROWS:
        assert callable(getattr(peer, key, None)), key


def test_every_cell_has_one_to_four_words():
    for row in TABLE:
        assert len(row) == len(HEAD), row
        for cell in row[1:]:
            assert 1 <= len(cell.split()) <= 4 and "?" not in cell, row
