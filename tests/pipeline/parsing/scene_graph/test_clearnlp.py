"""ClearNLP arcs become those of Universal Dependencies."""

from parsed_captions import make_doc, read_examples

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.scene_graph.clearnlp import universal
from pipeline.parsing.scene_graph.component import SceneGraph

EXAMPLES = read_examples()


def converted(parse):
    doc = make_doc(parse)
    return universal(
        [t.lower_ for t in doc],
        [t.pos_ for t in doc],
        [t.head.i for t in doc],
        [t.dep_ for t in doc],
    )


def test_arcs_are_those_of_the_same_caption_in_universal_dependencies():
    right = total = 0
    for example in EXAMPLES:
        doc = make_doc(example.parses["universal"])
        heads, labels = converted(example.parses["clear"])
        pairs = zip(heads, labels, [(t.head.i, t.dep_) for t in doc], strict=True)
        right += sum((head, label) == gold for head, label, gold in pairs)
        total += len(doc)
    assert right >= 0.9 * total


def test_prepositions_go_under_their_nouns_and_copulas_under_predicates():
    heads, labels = converted(
        "man/NOUN/nsubj/1 is/AUX/ROOT/1 happy/ADJ/acomp/1 on/ADP/prep/2 bench/NOUN/pobj/3"
    )
    assert heads == [2, 2, 2, 4, 2]
    assert labels == ["nsubj", "cop", "ROOT", "case", "obl"]


def test_chains_of_prepositions():
    heads, labels = converted(
        "dog/NOUN/ROOT/0 in/ADP/prep/0 back/NOUN/pobj/1 of/ADP/prep/2 truck/NOUN/pobj/3"
    )
    assert heads == [0, 2, 0, 4, 2]
    assert labels == ["ROOT", "case", "nmod", "case", "nmod"]


def test_both_schemes_mostly_give_the_same_triples():
    same = [
        set(string_tuples(SceneGraph()(make_doc(example.parses["clear"]))))
        == set(string_tuples(SceneGraph()(make_doc(example.parses["universal"]))))
        for example in EXAMPLES
    ]
    assert sum(same) >= 0.9 * len(same)
