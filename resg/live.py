"""Parse captions as those of a run were parsed; the only module that needs the parser."""

from collections.abc import Callable, Sequence

from pipeline.fingerprint import differences
from pipeline.shards.records import ParsedCaption
from resg.errors import ResgError
from resg.run_folder import RunFolder


def caption_parser(
    run: RunFolder, model: str = "embedded"
) -> Callable[[Sequence[str]], list[ParsedCaption]]:
    """The parser that made a run's caption shards, as a function from texts to parsed captions.

    Args:
        run: whose captions.
        model: name or path of the spaCy model, as parse-captions takes it.

    Raises:
        ResgError: it is not the model that parsed the run's captions.
    """
    from pipeline.manifests.manifest import CaptionItem
    from pipeline.parsing.captions import caption_record
    from pipeline.parsing.parser import load_parser, model_fingerprint, parse_texts

    nlp = load_parser(model)
    told = differences(run.data["fingerprints"]["captions"], model_fingerprint(nlp))
    if told:
        raise ResgError(
            f"the captions of {run.folder} were parsed by another model: {told[0]}.\n"
            "Give the one that parsed them: --model NAME_OR_PATH (parser=... of resg.load)."
        )

    def parse(texts: Sequence[str]) -> list[ParsedCaption]:
        return [
            caption_record(doc, CaptionItem(f"typed#{number}", "typed", text, "typed"))
            for number, (doc, text) in enumerate(zip(parse_texts(nlp, texts), texts, strict=True))
        ]

    return parse
