"""The folder that a training of photographs leaves, and the network in it."""

from pathlib import Path

from torchvision.models.detection import FasterRCNN

from pipeline.detectors.base import DetectorInfo
from pipeline.detectors.checkpoints import load_weights
from pipeline.detectors.devices import choose_device
from pipeline.detectors.torch_backend import TorchNetwork
from pipeline.detectors.torchvision import FasterRCNNProposals
from pipeline.detectors.training.network import build_network
from pipeline.detectors.training.settings import TrainingRecipe, read_recipe
from pipeline.errors import DataError

RECIPE, INFO, WEIGHTS = "recipe.yaml", "detector.json", "model.safetensors"


def open_run(folder: Path, *, device: str = "cpu", threads: int = 1) -> TorchNetwork:
    """The network of a run folder, run by torch.

    Raises:
        DataError: the folder is no run of a photograph detector, or damaged.
        SettingsError: CUDA is absent.
    """
    device = choose_device(device, "torch")
    missing = [name for name in (RECIPE, INFO, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"expected the run of a photograph detector in {folder}, there is no {missing[0]}; "
            "make one with: pipeline train-detector --config photos"
        )
    recipe = read_recipe(folder / RECIPE)
    info = DetectorInfo.model_validate_json((folder / INFO).read_text(encoding="utf-8"))
    network = load_network(folder / WEIGHTS, len(info.classes), recipe)
    return TorchNetwork(FasterRCNNProposals(network), info, device=device, threads=threads)


def load_network(weights: Path, num_classes: int, recipe: TrainingRecipe) -> FasterRCNN:
    """A network with the weights of a file, on the CPU."""
    network = build_network(num_classes, recipe.network)
    load_weights(network, weights)
    return network.eval()
