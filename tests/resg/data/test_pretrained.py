"""Models that are neither on the disk nor within reach are refused at once."""

import time

import pytest

from resg.data.pretrained import check_hub, load_pretrained
from resg.errors import ResgError

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra bert is not installed")
pytest.importorskip("transformers", reason="the extra bert is not installed")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What sets how the hub answers; the cache is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def answer_with(answer):
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", answer)

    return answer_with


def no_network(api, name, timeout):
    raise OSError("Name or service not known")


def silence(api, name, timeout):
    time.sleep(10)


@pytest.mark.parametrize(
    ("answer", "reason"), [(no_network, "Name or service not known"), (silence, "no answer")]
)
def test_without_a_network_the_error_comes_within_two_seconds(answer, reason, hub):
    hub(answer)
    began = time.monotonic()
    with pytest.raises(ResgError, match=reason) as told:
        check_hub("somebody/no-such-model")
    assert time.monotonic() - began < 2
    assert "--set model.text.encoder=bert:FOLDER" in str(told.value)


def test_a_name_that_is_nowhere_is_asked_for_once_and_nothing_is_printed(hub, capfd):
    asked = []

    def refuse(api, name, timeout):
        asked.append(name)
        raise OSError("no network\nand more")

    hub(refuse)
    with pytest.raises(ResgError, match=r"'somebody/no-such-model' .*the hub says: no network\n"):
        load_pretrained("AutoTokenizer", "somebody/no-such-model")
    assert asked == ["somebody/no-such-model"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_is_never_asked_for(exists, hub, tmp_path):
    hub(lambda *arguments, **options: pytest.fail("the hub was asked"))
    folder = tmp_path / "encoder"
    if exists:
        folder.mkdir()
    with pytest.raises(ResgError, match="expected a Hugging Face encoder in the folder") as told:
        load_pretrained("AutoConfig", str(folder))
    assert ("there is no such folder" in str(told.value)) != exists
