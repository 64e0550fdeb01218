"""An explanation's parts add up to the score that the matcher gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from resg.data.tables import CaptionTable, ImageTable
from resg.errors import ResgError
from resg.evaluation.scoring import score_matrix
from resg.explain.explanation import explain_pair
from resg.presets import preset_names

CPU = torch.device("cpu")
NAMES = {"labels": ("red", "green", "blue", "white", "black", "pink")}
PRESETS = [name for name in preset_names() if name != "resg-bert"]


def scores(matcher, vocabulary, images, captions):
    table = ImageTable(images, "map", CPU)
    kinds = matcher.settings.textual_graph.edges
    return score_matrix(matcher, table, CaptionTable(captions, table.row, vocabulary, kinds), CPU)


@pytest.mark.parametrize("preset", PRESETS)
def test_parts_add_up_to_the_matcher_s_score(preset, make_matcher, pairs):
    matcher, vocabulary = make_matcher(preset)
    images, captions = pairs
    expected = scores(matcher, vocabulary, images, captions)
    for row in range(3):
        told = explain_pair(matcher, vocabulary, images[row], captions[2 * row]).caption
        assert told.score == pytest.approx(expected[row, 2 * row], abs=1e-5)
        assert told.global_part + told.node_part == pytest.approx(told.score, abs=1e-5)
        assert told.shares.sum() == pytest.approx(told.node_part, abs=1e-5)
        assert told.shares.shape == (3, len(told.words))


def test_a_preset_without_nodes_has_the_global_part_alone(make_matcher, pairs):
    told = explain_pair(*make_matcher("vse-inf"), pairs[0][0], pairs[1][0])
    assert told.caption.node_weight == 0
    assert not told.caption.shares.any()
    assert told.visual.tried == told.textual.tried == ()


def test_the_nearest_wrong_caption_is_the_one_that_scores_highest(make_matcher, pairs):
    matcher, vocabulary = make_matcher("resg-gru")
    images, captions = pairs
    others = captions[2:]
    told = explain_pair(matcher, vocabulary, images[0], captions[0], others)
    expected = scores(matcher, vocabulary, images, captions)[0, 2:]
    assert told.wrong.text == others[int(expected.argmax())].text
    assert told.wrong.score == pytest.approx(expected.max(), abs=1e-5)
    assert told.rivals == len({other.forms for other in others})


def test_a_caption_of_the_same_words_is_no_rival(make_matcher, pairs):
    caption = pairs[1][0]
    same = replace(caption, forms=tuple(form.upper() for form in caption.forms), caption_id="x")
    assert explain_pair(*make_matcher("resg-gru"), pairs[0][0], caption, [same]).wrong is None


def test_edges_of_both_graphs_are_left_out(make_matcher, pairs):
    matcher, vocabulary = make_matcher("resg-gru", "model.visual_graph.edges=spatial")
    told = explain_pair(matcher, vocabulary, pairs[0][0], pairs[1][0])
    for relations, joined in ((told.visual, 2), (told.textual, 3)):  # the outer two are far apart
        assert relations.num_pairs == len(relations.tried) == joined
        assert min(abs(relation.change) for relation in relations.tried) > 1e-5


def test_regions_and_relations_are_told_by_the_detector_s_names(make_matcher, pairs):
    image, caption = pairs[0][0], pairs[1][0]
    told = explain_pair(
        *make_matcher("resg-gru", "model.visual_graph.edges=spatial"), image, caption, names=NAMES
    )
    names = [region.name for region in told.regions]
    assert names == [NAMES["labels"][label] for label in image.labels]
    texts = {relation.text for relation in told.visual.tried}
    assert f"{names[1]} right of {names[0]}" in texts
    first, _, second = caption.forms
    assert f"{first}, {second}: modifier of nominal" in {r.text for r in told.textual.tried}


def test_attributes_stand_before_the_class(make_matcher, pairs):
    image = replace(pairs[0][0], attributes=np.array([1, 0, 1], np.int32))
    names = {**NAMES, "attributes": ("small", "large")}
    told = explain_pair(*make_matcher("resg-gru"), image, pairs[1][0], names=names)
    kinds = [NAMES["labels"][label] for label in image.labels]
    assert [region.name for region in told.regions] == [
        f"large {kinds[0]}",
        f"small {kinds[1]}",
        f"large {kinds[2]}",
    ]


def test_unknown_words_are_marked(make_matcher, pairs):
    caption = replace(pairs[1][0], forms=("zebra", *pairs[1][0].forms[1:]))
    told = explain_pair(*make_matcher("resg-gru"), pairs[0][0], caption).caption
    assert told.is_known == (False, True, True)


@pytest.mark.parametrize(("count", "said"), [(0, "got an empty one"), (101, "at most 100 words")])
def test_captions_of_no_or_too_many_words_are_refused(count, said, make_matcher, pairs):
    caption = replace(
        pairs[1][0],
        forms=("red",) * count,
        heads=(0,) * count,
        deprels=("dep",) * count,
        objects=(),
        triples=(),
    )
    with pytest.raises(ResgError, match=said):
        explain_pair(*make_matcher("resg-gru"), pairs[0][0], caption)
