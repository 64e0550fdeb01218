"""Messages of errors, of both packages."""

import pickle

import pytest

from pipeline.errors import DataError, MissingExtraError
from resg.errors import ResgError


@pytest.mark.parametrize("error", [DataError, ResgError])
@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("a.npy: it ends early.. Download it again.", "a.npy: it ends early. Download it again."),
        ("it ends early..\nMend it..", "it ends early.\nMend it."),
        ("is it a picture?. Mend it!.", "is it a picture? Mend it!"),
        ("use ../shards or cd .. first.", "use ../shards or cd .. first."),
        ("a, b, ... and c...", "a, b, ... and c..."),
    ],
)
def test_no_full_stop_is_doubled(error, message, said):
    assert str(error(message)) == said


def test_errors_of_workers_can_be_sent():
    assert str(pickle.loads(pickle.dumps(DataError("a..")))) == "a."
    assert "resg[bert]" in str(MissingExtraError("transformers", "bert"))
