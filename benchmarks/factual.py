"""How well are captions parsed? Set match and SPICE F1 against gold scene graphs.

    python benchmarks/factual.py ../shared/data/factual/dev.csv.gz [--model M]

GOLD is a CSV file with the columns `caption` and `scene_graph`, gzip or plain. Strings are compared
in lower case, without synonyms (`pipeline.parsing.score`).
"""

import time
from pathlib import Path

import click

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import load_parser, parse_texts
from pipeline.parsing.score import normalised, read_gold, score


@click.command()
@click.argument("gold", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="embedded", show_default=True, help="As for parse-captions.")
@click.option("--wrong", type=int, default=0, help="Print so many captions that do not match.")
def main(gold: Path, model: str, wrong: int) -> None:
    """Parse the captions of GOLD and compare their triples with gold."""
    nlp = load_parser(model)
    rows = list(read_gold(gold))
    start = time.perf_counter()
    parsed = [string_tuples(doc) for doc in parse_texts(nlp, [row.caption for row in rows])]
    seconds = time.perf_counter() - start
    result = score(parsed, [row.triples for row in rows])
    print(
        f"{gold.name}, {nlp.meta['name']} ({', '.join(nlp.pipe_names)}): set match "
        f"{result.set_match:.1f}, SPICE F1 {result.spice_f1:.1f}, {result.captions} captions "
        f"in {seconds:.1f} s"
    )
    for row, triples in zip(rows, parsed, strict=True):
        ours, theirs = normalised(triples), normalised(row.triples)
        if ours != theirs and wrong > 0:
            wrong -= 1
            print(
                f"{row.caption}\n  missing {sorted(theirs - ours)}\n  extra {sorted(ours - theirs)}"
            )


if __name__ == "__main__":
    main()
