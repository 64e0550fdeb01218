"""Twins, and the relations that hold between what is drawn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scenes.drawing import visible_pixels
from pipeline.scenes.layout import CORE_RELATIONS, COVERED, make_twins
from pipeline.scenes.relations import CONVERSE, MAX_SLANT, loose_relations, relations
from pipeline.scenes.scene import IMAGE_SIZE
from pipeline.scenes.shapes import CONTAINERS, SHAPES, stencil


def what(item):
    return item.kind, item.size, item.radius


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), relation=st.sampled_from(CORE_RELATIONS))
def test_core_relation_holds_in_both_twins_with_the_roles_exchanged(seed, relation):
    twins = make_twins(np.random.default_rng(seed), relation)
    one, other = twins.scenes
    for scene in twins.scenes:
        assert (twins.first, relation, twins.second) in relations(scene)
        assert (twins.second, CONVERSE[relation], twins.first) in relations(scene)
        assert (twins.second, relation, twins.first) not in loose_relations(scene)
    assert one.objects[twins.first].kind == other.objects[twins.second].kind
    assert one.objects[twins.second].kind == other.objects[twins.first].kind
    assert one.objects[twins.first].kind != one.objects[twins.second].kind


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), relation=st.sampled_from(CORE_RELATIONS))
def test_twins_hold_the_same_objects_and_nothing_but_roles_is_exchanged(seed, relation):
    twins = make_twins(np.random.default_rng(seed), relation)
    one, other = twins.scenes
    assert one.background == other.background
    assert Counter(map(what, one.objects)) == Counter(map(what, other.objects))
    for before, after in zip(one.objects, other.objects, strict=True):
        if before.role > 1:
            assert before == after
        else:
            assert after.role == 1 - before.role
            assert (after.size == before.size) or relation != "inside"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), relation=st.sampled_from(["left of", "above", "in front of"]))
def test_objects_of_twins_stand_in_the_same_places(seed, relation):
    one, other = make_twins(np.random.default_rng(seed), relation).scenes
    for before, after in zip(one.objects, other.objects, strict=True):
        offset = np.subtract(before.extent.centre, after.extent.centre)
        assert np.abs(offset).max() <= 1  # a box of odd width has no middle pixel


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_twins_of_inside_move_the_small_ones_alone(seed):
    one, other = make_twins(np.random.default_rng(seed), "inside").scenes
    large = [{i for i in scene.objects if i.size == "large"} for scene in (one, other)]
    assert large[0] == large[1]
    for scene in (one, other):
        held = relations(scene)
        couples = {(i, j) for i, name, j in held if name in {"inside", "in front of"}}
        assert len(couples) == 2  # the wrong couple touches as well
        for item in (item for item in scene.objects if item.role < 2):
            (twin,) = [o for o in (other, one)[scene is other].objects if what(o) == what(item)]
            assert np.abs(np.subtract(item.extent.centre, twin.extent.centre)).max() < 50


def test_no_object_leaves_the_picture_or_hides_too_much(captioned_twins):
    for twins, _ in captioned_twins:
        for scene in twins.scenes:
            shown = visible_pixels(scene).sum(axis=(1, 2))
            for number, item in enumerate(scene.objects):
                assert item.extent.within(1)
                share = shown[number] / stencil(item.kind.shape, item.radius).covers.sum()
                is_container = twins.relation == "inside" and number == twins.second
                assert share >= (0.5 if is_container else 1 - COVERED[1] - 0.03)


def test_relations_agree_with_the_annotated_boxes(scenes):
    boxes = {a["id"]: a["bbox"] for a in scenes.instances["annotations"]}
    visible = {a["id"]: a["visible"] for a in scenes.instances["annotations"]}
    seen = Counter()
    for relation in scenes.instances["relations"]:
        subject, other = relation["subject_id"], relation["object_id"]
        (ax, ay, aw, ah), (bx, by, bw, bh) = boxes[subject], boxes[other]
        dx, dy = bx + bw / 2 - ax - aw / 2, by + bh / 2 - ay - ah / 2
        seen[relation["predicate"]] += 1
        match relation["predicate"]:
            case "left of":
                assert ax + aw <= bx
                assert abs(dy) <= MAX_SLANT * dx + 4
            case "above":
                assert dy > 0
                assert ay + ah <= by + 14  # a shape may rest in a dent of another's top
            case "on":
                assert abs(ay + ah - by) <= 14
                assert bx <= ax + aw / 2 <= bx + bw
            case "in front of":
                assert visible[other] < 0.99
                assert ax < bx + bw
                assert bx < ax + aw
                assert ay < by + bh
                assert by < ay + ah
            case "inside":
                assert bx <= ax
                assert ax + aw <= bx + bw
                assert by <= ay
                assert ay + ah <= by + bh
    assert set(seen) == set(CONVERSE)
    assert all(seen[name] == seen[converse] for name, converse in CONVERSE.items())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [14, 31])
def test_stencil_fills_its_crop(shape, radius):
    covers = stencil(shape, radius).covers
    assert covers[0].any()
    assert covers[-1].any()
    assert covers[:, 0].any()
    assert covers[:, -1].any()
    assert max(covers.shape) < min(2.4 * radius, IMAGE_SIZE)


@pytest.mark.parametrize("shape", CONTAINERS)
def test_roomiest_point_of_a_container_has_room(shape):
    drawn = stencil(shape, 40)
    x, y = drawn.inner
    rows, columns = np.mgrid[: drawn.shape[0], : drawn.shape[1]]
    near = np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= 13
    assert near.sum() > 500
    assert drawn.solid[near].all()
