"""Settings of a run, from a preset and `--set` changes; errors that say what is wrong with them.

A preset (`resg/models/presets/*.yaml`, or a YAML file of your own) changes the defaults of
`resg.config`, and `--set path=value` changes the preset.
"""

import difflib
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from resg.config import RunSettings
from resg.errors import SettingsError

RENAMED = {
    "train.ramp_steps": "train.warmup_steps",
    "train.decay_at": "train.decay_after",
    "loss.warmup_epochs": "loss.hardest_after",
}
"""Settings that have another name since version 0.1."""


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = resources.files("resg.models") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith("yaml"))


def load_settings(preset: str, changes: Iterable[str] = ()) -> RunSettings:
    """The settings of a preset with `path=value` changes.

    Args:
        preset: a name of `preset_names()`, or a YAML file of the same form.
        changes: such as `train.epochs=5`; the value is read as YAML.

    Raises:
        SettingsError: an unknown preset or setting (the nearest name is offered), a bad value.
    """
    settings = _read_preset(preset)
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals:
            raise SettingsError(f"expected --set path=value, got {change!r}.")
        _check_path(path)
        _assign(settings, path.split("."), _read_yaml(value, f"--set {path}"))
    try:
        return RunSettings.model_validate({**settings, "preset": Path(preset).stem})
    except ValidationError as error:
        raise SettingsError(describe_invalid(error)) from error


def setting_paths(model: type[BaseModel] = RunSettings, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings that `--set` changes, such as `loss.triplet_margin`."""
    for name, field in _changeable(model):
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_paths(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def settings_table(model: type[BaseModel] = RunSettings, prefix: str = "") -> list[str]:
    """Rows of a Markdown table of all settings: name, default, what it is."""
    rows = []
    for name, field in _changeable(model):
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += settings_table(field.annotation, f"{prefix}{name}.")
        else:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            shown = yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip()
            rows.append(f"| `{prefix}{name}` | `{shown}` | {field.description} |")
    return rows


def _changeable(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Fields of a model by name, but for the preset's name, which `--preset` gives."""
    yield from ((name, field) for name, field in model.model_fields.items() if name != "preset")


def _read_preset(preset: str) -> dict[str, Any]:
    if preset in preset_names():
        text = (resources.files("resg.models") / "presets" / f"{preset}.yaml").read_text("utf-8")
    elif Path(preset).is_file():
        text = Path(preset).read_text(encoding="utf-8-sig")
    else:
        near = difflib.get_close_matches(preset, preset_names(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SettingsError(
            f"expected a preset ({', '.join(preset_names())}) or a YAML file, got {preset!r}.{hint}"
        )
    content = _read_yaml(text, preset) or {}
    if not isinstance(content, dict):
        raise SettingsError(
            f"expected settings by name in {preset}, such as 'train: {{epochs: 5}}', "
            f"got {content!r}."
        )
    return content


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise SettingsError(
            f"expected YAML in {where}, got: {told}. Are all brackets and quotes closed?"
        ) from error


def _check_path(path: str) -> None:
    if path == "preset":
        raise SettingsError("the preset is not a setting. Choose one with --preset.")
    if path not in setting_paths():
        raise SettingsError(_unknown(path))


def _unknown(path: str) -> str:
    if path in RENAMED:
        return f"the setting {path!r} is now called {RENAMED[path]!r}. Use the new name."
    near = difflib.get_close_matches(path, list(setting_paths()), n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"there is no setting {path!r}.{hint}"


def _assign(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = tree.get(name) or {}
        if not isinstance(inner, dict):
            raise SettingsError(f"expected settings by name in {name!r}, got {inner!r}.")
        tree[name] = dict(inner)
        tree = tree[name]
    tree[path[-1]] = value


def describe_invalid(error: ValidationError) -> str:
    """What is wrong with settings, in at most three lines; a renamed one with its new name."""
    lines = []
    for fault in error.errors():
        path = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(_unknown(path))
        elif fault["type"] == "value_error":  # one of our own: it says what came
            told = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {told}".removeprefix(": "))
        else:
            lines.append(f"{path}: {fault['msg']}, got {fault['input']!r}".removeprefix(": "))
    return "\n".join(lines[:3])
