import json

from matplotlib.figure import Figure

from resg.training.run_log import METRICS_FILE, draw_curves


def write_metrics(folder, **parts):
    """Three epochs of four steps; the second has the best validation."""
    lines = []
    for epoch, rsum in enumerate((100.0, 300.0, 200.0)):
        for step in range(4 * epoch, 4 * epoch + 4):
            figures = {part: value / (step + 1) for part, value in parts.items()}
            lines.append({"kind": "step", "step": step, "epoch": epoch, **figures})
        lines.append(
            {"kind": "validation", "step": 4 * (epoch + 1), "epoch": epoch + 1, "rsum": rsum}
        )
    (folder / METRICS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def drawn(folder, monkeypatch):
    """The axes of the curves by the label of their y axis."""
    figures = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    assert draw_curves(folder).read_bytes().startswith(b"\x89PNG")
    return {axes.get_ylabel(): axes for axes in figures[0].axes}


def test_each_part_of_the_loss_has_a_panel_with_epochs_on_its_axis(tmp_path, monkeypatch):
    write_metrics(tmp_path, loss=12.0, triplet=10.0, contrastive=0, center=0.05, margin=0.2)
    axes = drawn(tmp_path, monkeypatch)
    assert list(axes) == ["loss", "rSum (of 600)", "triplet", "center", "margin"]
    for part, first in (("loss", 12.0), ("center", 0.05)):
        (line,) = axes[part].lines
        assert list(line.get_xdata()) == [(step + 1) / 4 for step in range(12)]
        assert line.get_ydata()[0] == first
        assert axes[part].get_ylim()[1] < 1.1 * first
    assert axes["margin"].get_xlabel() == axes["rSum (of 600)"].get_xlabel() == "epoch"


def test_the_best_epoch_is_marked(tmp_path, monkeypatch):
    write_metrics(tmp_path, loss=12.0, triplet=10.0, contrastive=0, center=0.05, margin=0.2)
    recall = drawn(tmp_path, monkeypatch)["rSum (of 600)"]
    curve, star, _ = recall.lines
    assert list(curve.get_xdata()) == [1, 2, 3]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([2], [300.0])
    assert recall.get_title() == "Validation: best 300.0 in epoch 2"


def test_parts_that_are_always_0_have_no_panel(tmp_path, monkeypatch):
    write_metrics(tmp_path, loss=12.0, triplet=12.0, contrastive=0, center=0, margin=0)
    assert list(drawn(tmp_path, monkeypatch)) == ["loss", "rSum (of 600)"]


def test_a_loss_that_falls_by_orders_of_magnitude_can_still_be_read(tmp_path, monkeypatch):
    write_metrics(tmp_path, loss=1.0, triplet=1.0, contrastive=0, center=0.5, margin=0.2)
    path = tmp_path / METRICS_FILE
    events = [json.loads(line) for line in path.read_text().splitlines()]
    events[0]["triplet"] = 500.0
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    axes = drawn(tmp_path, monkeypatch)
    assert axes["triplet"].get_yscale() == "symlog"
    assert axes["center"].get_yscale() == axes["loss"].get_yscale() == "linear"
    height = axes["triplet"].transData.transform
    low, high = (height((1, value))[1] for value in (0, 0.1))
    assert (high - low) / axes["triplet"].bbox.height > 0.05
