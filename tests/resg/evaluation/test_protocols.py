import numpy as np
import pytest

from resg.errors import ResgError, SettingsError
from resg.evaluation.protocols import (
    deviation_of,
    evaluate_scores,
    load_matrix,
    mean_of,
    mean_scores,
)
from resg.evaluation.ranking import ScoreError, score_matrix_metrics


def random_scores(images, seed=0):
    owner = np.repeat(np.arange(images), 5)
    scores = np.random.default_rng(seed).normal(size=(images, 5 * images)).astype(np.float32)
    scores[owner, np.arange(5 * images)] += 1.5
    return scores, owner


def test_the_full_protocol_ranks_all_together():
    scores, owner = random_scores(30)
    figures = evaluate_scores(scores, owner, "full").as_json()
    assert figures == {"protocol": "full", **score_matrix_metrics(scores, owner).as_json()}
    assert figures["i2t"]["queries"] == 30
    assert figures["t2i"]["queries"] == 150


def test_1k_takes_the_first_thousand_and_5x1k_the_mean_of_five_folds():
    images = 5000
    owner = np.repeat(np.arange(images), 2)
    # images of fold f are outscored by f images of their own fold and by all of other folds
    scores = np.full((images, len(owner)), 9, np.float32)
    for fold in range(5):
        rows = slice(1000 * fold, 1000 * (fold + 1))
        own = scores[rows, 2000 * fold : 2000 * (fold + 1)]
        own[:] = 0
        places = np.arange(1000)
        for caption in (0, 1):
            own[places, 2 * places + caption] = 1
            for rival in range(1, fold + 1):
                own[(places + rival) % 1000, 2 * places + caption] = 2
    first = evaluate_scores(scores, owner, "1k").as_json()
    assert first["rsum"] == 600
    assert first["t2i"]["queries"] == 2000
    folds = evaluate_scores(scores, owner, "5x1k")
    assert [fold.t2i.recall[1] for fold in folds.folds] == [100, 0, 0, 0, 0]
    assert [fold.t2i.median_rank for fold in folds.folds] == [1, 2, 3, 4, 5]
    assert folds.as_json()["t2i"]["medr"] == 3
    assert folds.as_json()["t2i"]["r5"] == 100


@pytest.mark.parametrize(("protocol", "needed"), [("1k", 1000), ("5x1k", 5000)])
def test_a_protocol_that_needs_more_images_says_so(protocol, needed):
    with pytest.raises(SettingsError, match=f"{protocol} needs {needed} images, there are 30"):
        evaluate_scores(*random_scores(30), protocol)


def test_matrices_of_different_shapes_make_no_ensemble():
    with pytest.raises(ResgError, match="score the same data"):
        mean_scores([np.zeros((2, 4)), np.zeros((2, 6))])


def test_means_and_deviations_worked_by_hand():
    figures = [{"protocol": "full", "rsum": r, "i2t": {"r1": r / 10}} for r in (10.0, 20.0, 60.0)]
    assert mean_of(figures) == {"rsum": 30.0, "i2t": {"r1": 3.0}}
    assert deviation_of(figures)["rsum"] == pytest.approx(26.457513)  # sqrt((400 + 100 + 900) / 2)
    assert deviation_of(figures[:1])["rsum"] == 0


def test_anybodys_matrix_is_scored_by_the_same_rules(tmp_path):
    scores, owner = random_scores(20)
    np.save(tmp_path / "scores.npy", scores)
    loaded = load_matrix(tmp_path / "scores.npy")
    assert evaluate_scores(*loaded).as_json() == evaluate_scores(scores, owner).as_json()


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


@pytest.mark.parametrize("protocol", ["1k", "5x1k"])
def test_a_nan_outside_all_folds_is_an_error_too(protocol):
    owner = np.arange(5000)
    scores = np.zeros((5000, 5000), np.float16)
    scores[4000, 10] = np.nan
    with pytest.raises(ScoreError, match="image 4000 and caption 10"):
        evaluate_scores(scores, owner, protocol)


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
    assert evaluate_scores(*loaded).folds[0] == score_matrix_metrics(scores, owner)


def test_owners_may_come_in_any_order(tmp_path):
    scores, owner = uneven_scores()
    order = np.random.default_rng(1).permutation(len(owner))
    np.save(tmp_path / "scores.npy", scores[:, order])
    np.save(tmp_path / "owners.npy", owner[order])
    loaded = load_matrix(tmp_path / "scores.npy", tmp_path / "owners.npy")
    assert evaluate_scores(*loaded).folds[0] == score_matrix_metrics(scores, owner)


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
        evaluate_scores(*load_matrix(tmp_path / "scores.npy", tmp_path / "owners.txt"))
    np.save(tmp_path / "owners.npy", np.zeros((2, 12)))
    with pytest.raises(ResgError, match=r"got shape \(2, 12\) of float64"):
        load_matrix(tmp_path / "scores.npy", tmp_path / "owners.npy")


def test_a_matrix_without_owners_says_how_to_give_them(tmp_path):
    np.save(tmp_path / "scores.npy", uneven_scores()[0])
    with pytest.raises(ResgError, match="--owners FILE"):
        load_matrix(tmp_path / "scores.npy")


def test_a_nan_anywhere_in_a_matrix_is_an_error(tmp_path):
    scores, _ = random_scores(10)
    scores[7, 31] = np.nan
    np.save(tmp_path / "scores.npy", scores)
    with pytest.raises(ScoreError, match="image 7 and caption 31"):
        evaluate_scores(*load_matrix(tmp_path / "scores.npy"))
