import json

import numpy as np
import pytest

from resg.errors import ResgError, SettingsError
from resg.evaluation.matrices import (
    MatrixIds,
    load_matrix,
    mean_scores,
    prepare_matrix_path,
    save_matrix,
)
from resg.evaluation.protocols import evaluate_matrix, evaluate_scores
from resg.evaluation.ranking import ScoreError, score_matrix_metrics


def random_scores(images):
    owner = np.repeat(np.arange(images), 5)
    scores = np.random.default_rng(0).normal(size=(images, 5 * images)).astype(np.float32)
    return scores, owner


def uneven():
    """Scores of three images with two, one and three captions, out of order, and their ids."""
    scores = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    captions = [f"c{number}" for number in range(6)]
    return scores, MatrixIds("val", ["a", "b", "ü"], captions, [2, 0, 1, 0, 2, 2])


def test_a_saved_matrix_comes_back_with_its_owners_and_gives_the_same_figures(tmp_path):
    scores, ids = uneven()
    save_matrix(tmp_path / "s.npy", scores, ids)
    loaded, owner, split = load_matrix(tmp_path / "s.npy")
    assert np.array_equal(loaded, scores)
    assert loaded.dtype == np.float32
    assert (owner.tolist(), split) == (ids.image_of_caption, "val")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.ids.json", "s.npy"]
    expected = evaluate_scores(scores, np.array(ids.image_of_caption)).as_json()
    assert evaluate_matrix(tmp_path / "s.npy") == {"split": "val", **expected}
    content = json.loads((tmp_path / "s.ids.json").read_text())
    assert content["image_ids"] == ["a", "b", "ü"]
    assert content["caption_ids"] == [f"c{number}" for number in range(6)]


def test_a_matrix_that_is_not_that_of_its_ids_is_refused(tmp_path):
    scores, ids = uneven()
    save_matrix(tmp_path / "s.npy", scores, ids)
    np.save(tmp_path / "s.npy", scores.T)
    with pytest.raises(ResgError, match=r"3 images x 6 captions of s\.ids\.json .*transposed"):
        load_matrix(tmp_path / "s.npy")


@pytest.mark.parametrize("content", ["{}", "[1", '{"split": "val", "image_ids": [1]}'])
def test_ids_that_are_none_are_refused(content, tmp_path):
    scores, ids = uneven()
    save_matrix(tmp_path / "s.npy", scores, ids)
    (tmp_path / "s.ids.json").write_text(content)
    with pytest.raises(ResgError, match=r"expected the ids of a score matrix in .*s\.ids\.json"):
        load_matrix(tmp_path / "s.npy")


def test_ids_without_an_image_for_every_caption_or_with_one_too_far_are_refused(tmp_path):
    scores, ids = uneven()
    few = MatrixIds(ids.split, ids.image_ids, ids.caption_ids, ids.image_of_caption[:-1])
    save_matrix(tmp_path / "few.npy", scores, few)
    with pytest.raises(ResgError, match=r"an image for each of 6 captions .* got 5"):
        load_matrix(tmp_path / "few.npy")
    far = MatrixIds(ids.split, ids.image_ids, ids.caption_ids, [2, 0, 1, 0, 2, 3])
    save_matrix(tmp_path / "far.npy", scores, far)
    with pytest.raises(ScoreError, match="captions of images 0 to 2, got captions of 0 to 3"):
        evaluate_matrix(tmp_path / "far.npy")


def test_a_matrix_is_only_written_to_an_npy_file_in_a_folder_that_exists(tmp_path):
    prepare_matrix_path(tmp_path / "s.npy")
    with pytest.raises(SettingsError, match=r"ends in \.npy .* got 's\.txt'"):
        prepare_matrix_path(tmp_path / "s.txt")
    prepare_matrix_path(tmp_path / "new" / "folder" / "s.npy")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"file/in for the matrix cannot be made"):
        prepare_matrix_path(tmp_path / "file" / "in" / "s.npy")


def test_matrices_of_different_shapes_make_no_ensemble():
    with pytest.raises(ResgError, match="score the same data"):
        mean_scores([np.zeros((2, 4)), np.zeros((2, 6))])


def test_anybodys_matrix_is_scored_by_the_same_rules(tmp_path):
    scores, owner = random_scores(20)
    np.save(tmp_path / "scores.npy", scores)
    expected = evaluate_scores(scores, owner).as_json()
    assert evaluate_matrix(tmp_path / "scores.npy") == expected


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((10, 20)),
            r"5 captions an image .* got shape \(10, 20\) of float64\. --owners names",
        ),
        (np.zeros((50, 10)), r"got shape \(50, 10\) of float64\. It is transposed"),
        (np.zeros(100), r"got shape \(100,\) of float64\. A matrix .* has 2 axes, this .* 1 axis"),
        (np.zeros((2, 10, 1)), r"this array has 3 axes"),
        (np.float64(3), r"this array has 0 axes"),
        (np.zeros((0, 0)), r"It is empty"),
        (np.full((2, 10), "a"), "of <U1. Scores are numbers"),
        (np.full((2, 10), None), "expected a numpy matrix"),
    ],
)
def test_a_file_that_is_no_such_matrix_is_refused(array, message, tmp_path):
    np.save(tmp_path / "scores.npy", array)
    with pytest.raises(ResgError, match=message):
        load_matrix(tmp_path / "scores.npy")


def test_a_file_that_is_no_numpy_file_is_refused(tmp_path):
    (tmp_path / "scores.npy").write_text("1 2 3")
    with pytest.raises(ResgError, match="expected a numpy matrix"):
        load_matrix(tmp_path / "scores.npy")
    (tmp_path / "scores.npy").write_bytes(b"")
    with pytest.raises(ResgError, match="expected a numpy matrix"):
        load_matrix(tmp_path / "scores.npy")
    np.savez(tmp_path / "scores.npz", np.zeros((2, 10)))
    with pytest.raises(ResgError, match=r"archive of several.*numpy\.save"):
        load_matrix(tmp_path / "scores.npz")


def test_a_nan_anywhere_in_a_matrix_is_an_error(tmp_path):
    scores, _ = random_scores(10)
    scores[7, 31] = np.nan
    np.save(tmp_path / "scores.npy", scores)
    with pytest.raises(ScoreError, match="image 7 and caption 31"):
        evaluate_matrix(tmp_path / "scores.npy")


COUNTS = [5, 6, 1, 7, 5]  # captions of each image, as COCO has them


def uneven_scores():
    owner = np.repeat(np.arange(len(COUNTS)), COUNTS)
    scores = np.random.default_rng(0).normal(size=(len(COUNTS), len(owner)))
    return scores, owner


NAMES = {
    "rows": lambda owner: [str(row) for row in owner],
    "ids": lambda owner: [f"image-{row}.jpg" for row in owner],
    "ids that are numbers": lambda owner: [str(391895 - row) for row in owner],
    "a row and a number": lambda owner: [str(row + 1) for row in owner],  # 5 is no row
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("suffix", [".txt", ".npy"])
def test_a_matrix_of_uneven_numbers_of_captions_has_owners(tmp_path, names, suffix):
    scores, owner = uneven_scores()
    np.save(tmp_path / "scores.npy", scores)
    lines = names(owner)
    if suffix == ".npy":
        is_number = all(line.isdecimal() for line in lines)
        np.save(tmp_path / "owners.npy", np.array(lines, int if is_number else str))
    else:
        (tmp_path / "owners.txt").write_text("\n".join(lines) + "\n")
    loaded = load_matrix(tmp_path / "scores.npy", tmp_path / f"owners{suffix}")
    np.testing.assert_array_equal(loaded[1], owner)
    assert evaluate_scores(*loaded[:2]).folds[0] == score_matrix_metrics(scores, owner)


def test_owners_may_come_in_any_order(tmp_path):
    scores, owner = uneven_scores()
    order = np.random.default_rng(1).permutation(len(owner))
    np.save(tmp_path / "scores.npy", scores[:, order])
    np.save(tmp_path / "owners.npy", owner[order])
    loaded = load_matrix(tmp_path / "scores.npy", tmp_path / "owners.npy")
    assert evaluate_scores(*loaded[:2]).folds[0] == score_matrix_metrics(scores, owner)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["0"] * 23, "expected a line for each of 24 captions in .*, got 23"),
        (["a"] * 24, "expected ids of 5 images in .*, got 1"),
        (["0"] * 24, "expected a caption for every image, got none for 4 of 5"),
    ],
)
def test_owners_that_do_not_fit_the_matrix_are_refused(tmp_path, lines, said):
    np.save(tmp_path / "scores.npy", uneven_scores()[0])
    (tmp_path / "owners.txt").write_text("\n".join(lines))
    with pytest.raises(ResgError, match=said):
        evaluate_matrix(tmp_path / "scores.npy", owners=tmp_path / "owners.txt")
    np.save(tmp_path / "owners.npy", np.zeros((2, 12)))
    with pytest.raises(ResgError, match=r"got shape \(2, 12\) of float64"):
        load_matrix(tmp_path / "scores.npy", tmp_path / "owners.npy")


def test_a_matrix_without_owners_says_how_to_give_them(tmp_path):
    np.save(tmp_path / "scores.npy", uneven_scores()[0])
    with pytest.raises(ResgError, match="--owners FILE"):
        load_matrix(tmp_path / "scores.npy")
