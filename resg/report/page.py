"""The page of a report."""

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipeline.errors import DataError
from resg.config import RunSettings
from resg.evaluation.probes import ProbeReport
from resg.live import load_picture, picture_folder
from resg.report.charts import loss_chart, rank_chart, recall_chart
from resg.report.collecting import RunReport
from resg.report.confusions import Confusion
from resg.run_folder import package_versions
from resg.webpage import columns, html_page, html_table, photo_uri

THUMBNAIL = 240
"""Pixels of the longer side of a picture."""

RECALLS = (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"), ("medr", "MedR"))
WAYS = (("i2t", "image to text"), ("t2i", "text to image"))


def report_page(reports: Sequence[RunReport], images: Path | None = None) -> str:
    """A page about runs; all text of the data in it is escaped.

    Args:
        reports: of the runs.
        images: folder of the pictures, for the confusions; None for their ids alone.

    Raises:
        pipeline.errors.DataError: there is no such folder, or it has no picture.
    """
    picture = _no_picture if images is None else _picture_finder(images, reports)
    names = ", ".join(report.name for report in reports)
    sections = [
        f"<h1>Report: {escape(names)}</h1>",
        _recall_section(reports),
        _curves_section(reports),
        _ranks_section(reports),
        _probes_section(reports),
        *(_confusions_section(report, picture, has_images=bool(images)) for report in reports),
        _data_section(reports),
    ]
    return html_page(f"Report: {names}", "\n".join(sections))


def _recall_section(reports: Sequence[RunReport]) -> str:
    first = reports[0].figures
    measured = [(f"{text}, {name}", way, key) for way, text in WAYS for key, name in RECALLS]
    measured.append(("rSum", "rsum", ""))
    if any("hard_pairs" in report.figures for report in reports):
        measured.append(("hard pairs told apart", "hard_pairs", "all"))
    chance = {**first["chance"], "hard_pairs": {"all": 50.0}}
    of_columns = [*(report.figures for report in reports), chance]
    rows = [[text, *(_cell(figures, *path) for figures in of_columns)] for text, *path in measured]
    seeds = "Figures after ± are standard deviations over seeds. " if _has_seeds(reports) else ""
    return (
        f"<h2>Recall</h2><p>Split {escape(first['split'])}: {first['images']:,.0f} images, "
        f"{first['captions']:,.0f} captions. Recalls are in percent, rSum is their sum, MedR the "
        f"median place of the right answer. {seeds}Equal scores count as wrong.</p>"
        f"{html_table(['', *map(_with_seeds, reports), 'chance'], rows)}"
    )


def _cell(figures: dict[str, Any], name: str, key: str) -> str:
    """A figure with its deviation; a dash where the run has none."""

    def at(tree: dict[str, Any]) -> float | None:
        found = tree.get(name)
        return found.get(key) if isinstance(found, dict) else found

    value, spread = at(figures), at(figures.get("deviation", {}))
    if value is None:
        return "-"
    return f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"


def _with_seeds(report: RunReport) -> str:
    return f"{report.name} ({len(report.runs)} seeds)" if len(report.runs) > 1 else report.name


def _has_seeds(reports: Sequence[RunReport]) -> bool:
    return any(len(report.runs) > 1 for report in reports)


def _curves_section(reports: Sequence[RunReport]) -> str:
    drawn = [report for report in reports if _first_metrics(report) is not None]
    missing = [report.name for report in reports if report not in drawn]
    note = (
        f'<p class="note">No curves of {escape(", ".join(missing))}: it has no metrics.jsonl with '
        "a finished epoch.</p>"
        if missing
        else ""
    )
    if not drawn:
        return f"<h2>Curves</h2>{note}"
    charts = [_chart(recall_chart(drawn), "Validation rSum by epoch", "A star: the best epoch.")]
    for report in drawn:
        metrics = _first_metrics(report)
        assert metrics is not None, "drawn are those that have some"
        title = f"Training losses of {report.name}"
        seed = f" (seed {report.settings.train.seed})" if len(report.runs) > 1 else ""
        charts.append(_chart(loss_chart(metrics), title, f"{title}{seed}."))
    return f"<h2>Curves</h2>{columns(charts)}{note}"


def _first_metrics(report: RunReport) -> list[dict[str, Any]] | None:
    """Metrics of the first seed, None without a finished epoch."""
    metrics = report.metrics[0]
    return metrics if any(event["kind"] == "validation" for event in metrics) else None


def _ranks_section(reports: Sequence[RunReport]) -> str:
    chart = _chart(
        rank_chart(reports),
        "Places of the right answers",
        "All seeds count." if _has_seeds(reports) else "",
    )
    return f"<h2>Ranks</h2>{columns([chart])}"


def _probes_section(reports: Sequence[RunReport]) -> str:
    probed = [report for report in reports if report.probes]
    if not probed:
        return "<h2>Probes</h2><p>They were left out (--no-probes).</p>"
    rows = []
    for name, value in _probe_rows(probed[0].probes[0]):
        cells = [_mean(list(map(value, report.probes))) for report in probed]
        rows.append([name, *cells])
    return (
        "<h2>Probes</h2><p>Scores of the same weights on perturbed captions and graphs: what does "
        "not change the score was not used.</p>"
        f"{html_table(['probe', *(report.name for report in probed)], rows)}"
    )


def _probe_rows(first: ProbeReport) -> Iterable[tuple[str, Callable[[ProbeReport], float | None]]]:
    """Name of each measure and what reads it."""
    for name in first.rsum:
        yield f"rSum, {name}", lambda probe, name=name: probe.rsum[name]
    yield (
        f"% of {first.num_swapped:,} captions above their form with subject and object exchanged "
        "(chance: 50)",
        lambda probe: probe.relation_swap,
    )
    for name in first.hard_pairs or {}:
        yield (
            f"% of hard pairs told apart, {name} (chance: 50)",
            lambda probe, name=name: (probe.hard_pairs or {}).get(name),
        )


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {np.std(known, ddof=1):.1f}" if len(known) > 1 else ""
    return f"{np.mean(known):.1f}{spread}"


Picture = Callable[[str], str]
"""Id of an image to an HTML element that shows it."""


def _confusions_section(report: RunReport, picture: Picture, *, has_images: bool) -> str:
    seeds = ", by the mean scores of its seeds" if len(report.runs) > 1 else ""
    note = "" if has_images else " Give --images DIR to see the pictures."
    parts = [
        f"<h2>Confusions that hurt most: {escape(report.name)}</h2>"
        f"<p>Queries whose wrong answer beat the right one by the widest margin{seeds}. Some wrong "
        f"answers describe the image as well as its own captions do.{note}</p>"
    ]
    parts.append("<h3>Captions that found another image</h3>")
    parts += [_caption_confusion(report, each, picture) for each in report.worst_captions]
    if not report.worst_captions:
        parts.append("<p>None: every caption found its image first.</p>")
    parts.append("<h3>Images that found a caption of another</h3>")
    parts += [_image_confusion(report, each, picture) for each in report.worst_images]
    if not report.worst_images:
        parts.append("<p>None: every image found one of its captions first.</p>")
    return "\n".join(parts)


def _caption_confusion(report: RunReport, confusion: Confusion, picture: Picture) -> str:
    right, wrong = report.image_ids[confusion.right], report.image_ids[confusion.wrong]
    return (
        f'<div class="confusion"><blockquote>{escape(report.captions[confusion.query])}'
        "</blockquote>"
        f"<figure>{picture(right)}<figcaption>✓ right, place {confusion.rank:,}, score "
        f"{confusion.right_score:.3f}<br>{escape(right)}</figcaption></figure>"
        f"<figure>{picture(wrong)}<figcaption>✗ found first, score "
        f"{confusion.wrong_score:.3f}<br>{escape(wrong)}</figcaption></figure></div>"
    )


def _image_confusion(report: RunReport, confusion: Confusion, picture: Picture) -> str:
    image = report.image_ids[confusion.query]
    return (
        f'<div class="confusion"><figure>{picture(image)}<figcaption>{escape(image)}</figcaption>'
        "</figure><div>"
        f"<blockquote>✓ {escape(report.captions[confusion.right])}</blockquote>"
        f'<p class="note">right, place {confusion.rank:,}, score {confusion.right_score:.3f}</p>'
        f"<blockquote>✗ {escape(report.captions[confusion.wrong])}</blockquote>"
        f'<p class="note">found first, score {confusion.wrong_score:.3f}</p></div></div>'
    )


def _no_picture(image_id: str) -> str:
    return f'<p class="missing">{escape(image_id)}</p>'


def _picture_finder(images: Path, reports: Sequence[RunReport]) -> Picture:
    """What shows the pictures of a folder; an id is the end of a path in it."""
    wanted = {image_id for report in reports for image_id in report.image_ids}
    found: dict[str, Path] = {}
    for item in picture_folder(images).images:
        parts = PurePosixPath(item.image_id).parts
        for start in range(len(parts)):
            image_id = "/".join(parts[start:])
            if image_id in wanted:
                found.setdefault(image_id, item.path)

    def show(image_id: str) -> str:
        path = found.get(image_id)
        if path is None:
            return f'<p class="missing">{escape(image_id)} is not in the folder of --images</p>'
        try:
            uri = photo_uri(load_picture(path), THUMBNAIL)
        except DataError as error:
            return f'<p class="missing">{escape(str(error))}</p>'
        return f'<img alt="{escape(image_id)}" src="{uri}">'

    return show


def _data_section(reports: Sequence[RunReport]) -> str:
    facts = [_facts(report) for report in reports]
    names = list(dict.fromkeys(name for own in facts for name in own))
    rows = [[name, *(own.get(name, "-") for own in facts)] for name in names]
    now = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    head = ["", *(report.name for report in reports)]
    return (
        f'<h2>Data, settings and versions</h2><div class="texts">{html_table(head, rows)}</div>'
        f'<p class="note">This report was made with {escape(now)}.</p>'
    )


def _facts(report: RunReport) -> dict[str, str]:
    """Where a run comes from, and the settings that differ from the defaults."""
    run = report.runs[0]
    left_out = report.figures["left_out"]
    facts = {
        "preset": run.settings.preset,
        "seeds": ", ".join(str(each.settings.train.seed) for each in report.runs),
        "split": f"{report.figures['images']:,.0f} images, {report.figures['captions']:,.0f} "
        f"captions, left out for want of regions: {left_out['captions']:,} captions",
        "width of the features": f"{run.feature_width:,}",
        "words": f"{len(run.vocabulary.words):,}",
    }
    for kind, fingerprint in run.data["fingerprints"].items():
        facts[f"fingerprint of the {kind}"] = ", ".join(
            f"{key} {_short(value)}" for key, value in fingerprint.items()
        )
    changed = _changed(run.settings.model_dump(mode="json"), RunSettings().model_dump(mode="json"))
    facts |= {f"setting {name}": json.dumps(value) for name, value in changed.items()}
    facts["versions at training"] = ", ".join(
        f"{name} {version}" for name, version in report.versions.items()
    )
    return facts


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 16 or not text.isalnum() else text[:16]


def _changed(settings: dict[str, Any], defaults: dict[str, Any], at: str = "") -> dict[str, Any]:
    """Settings that differ from the defaults by their path; the preset and seed are told apart."""
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        path = f"{at}{name}"
        if isinstance(value, dict):
            changed |= _changed(value, defaults[name], f"{path}.")
        elif value != defaults[name] and path not in ("preset", "train.seed"):
            changed[path] = value
    return changed


def _chart(uri: str, alt: str, caption: str) -> str:
    image = f'<img class="chart" alt="{escape(alt)}" src="{uri}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
