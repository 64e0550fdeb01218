"""A server of a small index, in a thread of the tests."""

import shutil
import threading
import time

import pytest

import resg
from resg.index.build import update_index
from resg.index.sources import PictureSource

NUM_PICTURES = 12


@pytest.fixture(scope="session")
def served_index(picture_run, tmp_path_factory):
    """An index of twelve scenes, opened."""
    place = tmp_path_factory.mktemp("serve")
    (place / "photos").mkdir()
    for picture in picture_run.pictures[:NUM_PICTURES]:
        shutil.copy(picture, place / "photos")
    run = resg.load(picture_run.folder, device="cpu")
    update_index(place / "scenes.index", run, [PictureSource.of_folder(place / "photos")])
    return resg.Index(place / "scenes.index", run)


@pytest.fixture(scope="session")
def address(served_index):
    """Host and port of a running server."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from resg.serve.app import create_app
    from resg.serve.server import listening

    with listening("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(served_index), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()
