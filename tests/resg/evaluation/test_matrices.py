import json

import numpy as np
import pytest

from resg.errors import ResgError, SettingsError
from resg.evaluation.matrices import (
    MatrixIds,
    check_matrix_path,
    load_matrix,
    mean_scores,
    save_matrix,
)
from resg.evaluation.protocols import evaluate_matrix, evaluate_scores
from resg.evaluation.ranking import ScoreError


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
    check_matrix_path(tmp_path / "s.npy")
    with pytest.raises(SettingsError, match=r"ends in \.npy .* got 's\.txt'"):
        check_matrix_path(tmp_path / "s.txt")
    with pytest.raises(SettingsError, match=r"there is no .*nowhere"):
        check_matrix_path(tmp_path / "nowhere" / "s.npy")


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
        (np.zeros((10, 20)), r"5 captions an image .* got shape \(10, 20\)"),
        (np.zeros((50, 10)), "transposed"),
        (np.zeros(5), "got shape"),
        (np.float64(3), "got shape"),
        (np.full((2, 10), "a"), "of <U1"),
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
