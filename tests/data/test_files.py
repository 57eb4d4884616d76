"""Which files of a folder are read, by one rule for every reader."""

import os
import warnings
from pathlib import Path

import pytest

from data.errors import InputError
from data.files import Listing, files_below, is_hidden, listing, natural


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def listed(root: Path, split: str | None = None) -> Listing:
    return listing(root, {".png", ".jpg"}, "pictures", split)


def names(found: Listing) -> list[str]:
    return [path.relative_to(found.root).as_posix() for path in found.files]


def test_files_are_found_by_their_ending_and_the_first_folder_is_the_class(tmp_path):
    found = listed(made(tmp_path, "dog/c.png", "cat/a.PNG", "cat/deep/b.jpg", "dog/list.txt", "notes"))
    assert names(found) == ["cat/a.PNG", "cat/deep/b.jpg", "dog/c.png"]
    assert (found.classes, found.labels) == (["cat", "dog"], [0, 0, 1])
    assert found.left_out() == "2 files that are not pictures are left out (1 without ending, 1 .txt)"
    beside = listed(made(tmp_path, "alone.png"))
    assert beside.labels == [None, 0, 0, 1]


def test_hidden_files_and_folders_are_counted_once_in_one_line(tmp_path):
    made(tmp_path, "a.png", ".b.png", "@eaDir/a.png/thumb.jpg", "__MACOSX/._a.png", "Thumbs.db", "#recycle/c.png")
    made(tmp_path, ".DS_Store", "._a.png")
    found = listed(tmp_path)
    assert names(found) == ["a.png"]
    assert found.left_out() == "5 hidden ones are left out, such as #recycle"
    with pytest.warns(UserWarning, match="5 hidden ones") as told:
        found.tell()
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listed(made(tmp_path / "plain", "a.png", ".DS_Store")).tell()


def test_links_are_followed_each_folder_once_and_loops_end(tmp_path):
    made(tmp_path / "pool", "one.png", "deep/two.png")
    root = made(tmp_path / "set", "cat/a.png", "cat/more/b.png")
    (root / "dog").symlink_to(tmp_path / "pool")
    (root / "cat" / "linked.png").symlink_to(tmp_path / "pool" / "one.png")
    assert names(listed(root)) == ["cat/a.png", "cat/linked.png", "cat/more/b.png", "dog/deep/two.png", "dog/one.png"]
    (root / "again").symlink_to(root / "cat")
    (root / "cat" / "up").symlink_to("..")
    (root / "cat" / "out").symlink_to(tmp_path.parent)
    (root / "gone.png").symlink_to("nowhere")
    os.mkfifo(root / "pipe.png")
    found = listed(root)
    assert len(found.files) == 5 and found.classes == ["cat", "dog"]
    line = found.left_out()
    assert "3 links to a folder that is read already are left out" in line
    assert [path.relative_to(root).as_posix() for path in files_below(root)] == names(found)
    assert "1 link without a target is left out" in line and "1 special file is left out" in line


def test_a_folder_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    made(tmp_path, "cat/a.png", "dog/b.png")
    scan = os.scandir

    def closed(path):
        if str(path).endswith("dog"):
            raise PermissionError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert "1 folder that cannot be opened is left out" in listed(tmp_path).left_out()


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_a_folder_of_splits_alone_is_split(tmp_path, train, valid):
    made(tmp_path, f"{train}/cat/a.png", f"{train}/dog/b.png", f"{valid}/cat/c.png", "test/d.png", "labels/x.txt")
    assert (names(listed(tmp_path)), listed(tmp_path).classes) == (["cat/a.png", "dog/b.png"], ["cat", "dog"])
    for split in ("valid", "val", "validation", valid):
        assert names(listed(tmp_path, split)) == ["cat/c.png"]
    assert names(listed(tmp_path, "test")) == ["d.png"]
    with pytest.raises(InputError, match="has no folder 'extra'; give a split"):
        listed(tmp_path, "extra")


def test_a_class_called_train_is_a_class(tmp_path):
    made(tmp_path, "train/a.png", "bus/b.png", "test/c.png")
    found = listed(tmp_path)
    assert found.classes == ["bus", "test", "train"] and "taken for a class" in found.left_out()
    assert names(listed(tmp_path, "train")) == ["a.png"], "where it is asked for, it is a split"


def test_splits_without_train_are_told(tmp_path):
    made(tmp_path, "test/cat/a.png", "valid/cat/b.png")
    with pytest.raises(InputError, match=r"holds test and valid but no train; .* split=test"):
        listed(tmp_path)


def test_a_class_without_files_is_told(tmp_path):
    found = listed(made(tmp_path, "cat/a.png", "dog/b.heic"))
    assert found.classes == ["cat"] and "the folder dog holds no pictures" in found.left_out()
    assert "holds no" not in listed(made(tmp_path / "plain", "a.png", "extra/b.txt")).left_out()


def test_names():
    order = sorted((Path(f"f{k}.png") for k in (10, 9, 1, 100)), key=natural)
    assert [path.stem for path in order] == ["f1", "f9", "f10", "f100"]
    assert is_hidden("@eaDir") and is_hidden("THUMBS.DB") and not is_hidden("a.png")
