import pytest

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import load_parser
from pipeline.parsing.scene_graph.garments import is_worn


@pytest.mark.parametrize(
    ("subject", "thing", "expected"),
    [
        ("man", "shirt", True),
        ("police officer", "baseball cap", True),
        ("man", "park", False),
        ("hole", "shirt", False),
    ],
)
def test_people_wear_garments(subject, thing, expected):
    assert is_worn(subject, thing) == expected


def test_clothes_that_someone_is_in_are_worn():
    nlp = load_parser()
    assert ("woman", "wear", "coat") in string_tuples(nlp("a woman in a long coat in the snow"))
