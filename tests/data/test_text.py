"""Text as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from data import text
from data.errors import InputError


def test_windows_are_the_text_piece_by_piece_and_the_rest_is_left_out():
    pieces, origin = text.windows([b"abcdefgh", b"xy", b"0123"], 3)
    assert [bytes(piece) for piece in pieces] == [b"abc", b"def", b"012"] and origin.tolist() == [0, 0, 2]
    assert text.windows([b"ab"], 3)[0].shape == (0, 3)


def test_a_symbol_is_one_of_256():
    hot = text.one_hot(np.array([[0, 255, 7]], np.uint8))
    assert hot.shape == (1, 256, 3) and hot.sum() == 3 and hot[0, 0, 0] and hot[0, 255, 1] and hot[0, 7, 2]


def test_texts_of_a_folder_are_read_in_order_and_what_is_none_is_told(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"second")
    (tmp_path / "a.md").write_bytes(b"first")
    (tmp_path / "c.png").write_bytes(b"no text")
    (tmp_path / "empty.txt").touch()
    with pytest.warns(UserWarning, match="not texts"):
        assert text.read(tmp_path) == [b"first", b"second"]
    assert text.read(tmp_path / "c.png") == [b"no text"]  # a single file is read whatever its name


@pytest.mark.parametrize(("make", "words"), [("none", "no such"), ("empty", "is empty"), ("folder", "holds no text")])
def test_what_is_no_text_is_refused_in_a_line(make, words, tmp_path):
    path = tmp_path / "it.txt"
    if make == "empty":
        path.touch()
    if make == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=words):
        text.read(path)


def test_every_python_has_its_library():
    texts = text.library()
    assert len(texts) > 100 and any(b"import" in one for one in texts)
    assert b"topics" in text.english()


def test_broken_bytes_are_shown():
    assert text.printed(np.array([72, 105, 255], np.uint8)) == "Hi�"
