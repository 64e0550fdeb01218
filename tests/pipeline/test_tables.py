"""Tables stay readable on a narrow terminal."""

from pipeline.tables import render_table


def test_numbers_stand_right_and_words_left():
    assert render_table(("name", "images", "mean"), [("a", 12345, 1.25), ("bcdef", 6, 20.0)]) == (
        "name   images  mean\n------ ------- ----\na      12,345   1.2\nbcdef       6  20.0"
    )


def test_last_column_alone_is_wrapped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = render_table(("shard", "problem"), [("x" * 30, "word " * 20)]).splitlines()
    assert lines[2].startswith("x" * 30 + "  word")
    assert all(line.startswith(" " * 32 + "word") for line in lines[3:])
    assert max(map(len, lines)) <= 30 + 2 + 40


def test_no_rows_give_the_head_alone():
    assert render_table(("a", "b"), []) == "a  b\n-- -"


def test_a_pipe_gets_no_colours_and_no_markup(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert render_table(("word",), [("[bold]red[/bold]",)]).splitlines()[-1] == "[bold]red[/bold]"
