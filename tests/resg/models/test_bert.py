import json
import shutil

import numpy as np
import pytest
import torch

from resg.data.subwords import SubwordTokeniser
from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import Vocabulary
from resg.errors import ResgError
from resg.jobs import evaluate_runs, resume_run, train_run
from resg.models.encoders import TransformerWordEncoder
from resg.models.matcher import Matcher
from resg.presets import load_settings
from resg.training.optimiser import make_adamw
from resg.training.run_log import read_metrics

transformers = pytest.importorskip("transformers", reason="the extra bert is not installed")

CPU = torch.device("cpu")
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "red",
    "green",
    "blue",
    "white",
    "black",
    "pi",
    "##nk",
    "be",
    "##side",
]
HIDDEN = 12


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a BERT of one layer, random weights, and a vocabulary of a few subwords."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    numbers = {piece: number for number, piece in enumerate(PIECES)}
    tokeniser = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    tokeniser.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokeniser,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(PIECES),
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def settings_of(bert, *changes):
    return load_settings(
        "resg-bert",
        (
            f"model.text.encoder=bert:{bert}",
            "model.width=16",
            "model.graph.heads=4",
            "train.batch_size=16",
            "train.epochs=2",
            *changes,
        ),
    )


def test_words_are_split_into_subwords_that_know_their_word(bert):
    subwords = SubwordTokeniser(str(bert)).split([("red", "beside", "pink"), ("blue",)])
    names = [PIECES[number] for number in subwords.ids.tolist()]
    assert names == [
        "[CLS]",
        "red",
        "be",
        "##side",
        "pi",
        "##nk",
        "[SEP]",
        "[CLS]",
        "blue",
        "[SEP]",
    ]
    assert subwords.word.tolist() == [-1, 0, 1, 1, 2, 2, -1, -1, 0, -1]
    assert subwords.ptr.tolist() == [0, 7, 10]


def test_a_words_node_is_the_projected_mean_of_its_subwords(bert, world):
    images, _ = world.make_split("train", 2, 0)
    ids = [image.image_id for image in images]
    captions = [
        world.make_caption("0", ids[0], "pink", "red"),
        world.make_caption("1", ids[1], "blue", "black"),
    ]
    table = ImageTable(images, "ram", CPU)
    tokeniser = SubwordTokeniser(str(bert))
    encoded = CaptionTable(captions, table.row, Vocabulary.build(captions), (), tokeniser)
    batch = encoded.batch(torch.tensor([1, 0]), torch.tensor([0, 1]))
    encoder = TransformerWordEncoder(str(bert), 8).eval()
    with torch.no_grad():
        nodes = encoder(batch.subwords, batch.word_of_subword, 6)
        own = transformers.BertModel.from_pretrained(bert).eval()
        for first_word, text in ((3, "[CLS] pi ##nk be ##side red [SEP]"),):
            numbers = torch.tensor([[PIECES.index(piece) for piece in text.split()]])
            states = own(input_ids=numbers).last_hidden_state[0]
            words = [states[1:3].mean(0), states[3:5].mean(0), states[5]]
            expected = encoder.project(torch.stack(words))
            assert torch.allclose(nodes[first_word:], expected, atol=1e-5)


def test_the_encoder_takes_smaller_steps_than_what_is_new(bert, world):
    settings = settings_of(bert, "train.learning_rate=0.01", "train.text_learning_rate=0.05")
    vocabulary = Vocabulary.build([world.make_caption("0", "i", "pink", "red")])
    matcher = Matcher(settings.model, vocabulary, world.feature_width)
    optimiser = make_adamw(matcher, settings.train)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert rates[id(matcher.words.project.weight)] == 0.01
    encoder = {rates[id(weight)] for weight in matcher.words.encoder.parameters()}
    assert sorted(encoder) == pytest.approx([0.0005])
    assert len(rates) == len(list(matcher.parameters()))


def test_a_run_trains_goes_on_and_is_evaluated_without_the_encoders_folder(
    bert, shards, train_until, tmp_path
):
    moved = shutil.copytree(bert, tmp_path / "encoder")
    settings = settings_of(moved, "train.epochs=6", "train.learning_rate=0.003")
    settings = settings.model_copy(
        update={"loss": settings.loss.model_copy(update={"hardest_after": 6.0})}
    )
    whole = train_run(shards, tmp_path / "whole", settings, CPU)
    train_until(shards, tmp_path / "run", settings, 20)
    shutil.rmtree(moved)
    assert resume_run(tmp_path / "run", CPU) == whole
    losses = [e["loss"] for e in read_metrics(tmp_path / "run") if e["kind"] == "step"]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])
    figures = evaluate_runs([tmp_path / "run"], "test", "full", CPU)
    assert figures["rsum"] == evaluate_runs([tmp_path / "whole"], "test", "full", CPU)["rsum"]
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["settings"]["model"]["text"]["encoder"] == f"bert:{moved}"


def test_a_folder_without_an_encoder_says_which_setting_to_change(tmp_path, shards):
    with pytest.raises(ResgError, match=r"--set model\.text\.encoder=bert:FOLDER"):
        train_run(shards, tmp_path / "run", settings_of(tmp_path / "none"), CPU)
