"""The log of a run survives kills, and warnings are called warnings."""

import io
import json
import logging
from types import SimpleNamespace

import pytest
from rich.console import Console

from hftune.training import log as track
from hftune.training.log import Bar, ConsoleHandler, RunConsole, RunLog, read_log


def accelerator(main: bool = True) -> SimpleNamespace:
    """The part of an Accelerator that a log uses."""
    logged = []
    return SimpleNamespace(
        is_main_process=main,
        logged=logged,
        log=lambda values, step: logged.append((step, values)),
    )


def plain_console(**options) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=200, highlight=False, soft_wrap=True, **options), out


def test_what_is_written_is_read_and_tracked(tmp_path):
    path = tmp_path / "log.jsonl"
    with_trackers = accelerator()
    log = RunLog(path, with_trackers, 0)
    log.write({"step": 1, "loss": 0.1 + 0.2})
    assert read_log(path) == [{"step": 1, "loss": 0.1 + 0.2}]  # at once, not at the end
    log.write({"step": 2, "eval_f1": 0.5, "epoch": 1.0})
    log.close()
    assert read_log(path) == [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "eval_f1": 0.5, "epoch": 1.0}]
    assert with_trackers.logged == [(1, {"loss": 0.1 + 0.2}), (2, {"eval_f1": 0.5, "epoch": 1.0})]


def test_a_last_line_that_was_cut_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    whole = "".join(json.dumps({"step": step, "loss": 1.5}) + "\n" for step in (1, 2, 3))
    for length in range(len(whole) + 1):
        path.write_text(whole[:length])
        assert [record["step"] for record in read_log(path)] == [1, 2, 3][: whole[:length].count("\n")]


def test_no_log_is_an_empty_log(tmp_path):
    assert read_log(tmp_path / "log.jsonl") == []


@pytest.mark.parametrize(
    ("first_step", "kept"), [(0, []), (2, [1, 2]), (3, [1, 2, 2.5, 3]), (9, [1, 2, 2.5, 3, 4])]
)
def test_resuming_drops_the_records_of_steps_made_again(tmp_path, first_step, kept):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step}) for step in (1, 2, 2.5, 3, 4)]
    path.write_text("\n".join(lines) + '\n{"step": 5, "lo')
    log = RunLog(path, accelerator(), first_step)
    assert [record["step"] for record in read_log(path)] == kept
    log.write({"step": 77})
    log.close()
    assert [record["step"] for record in read_log(path)] == [*kept, 77]
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.jsonl"]


def test_other_processes_write_nothing(tmp_path):
    other = accelerator(main=False)
    log = RunLog(tmp_path / "log.jsonl", other, 0)
    log.write({"step": 1})
    log.close()
    assert not list(tmp_path.iterdir())
    assert other.logged == []


@pytest.mark.parametrize(
    ("level", "line"),
    [
        (logging.INFO, "x.csv:100: 3 rows [b] left, \\[y]"),
        (logging.WARNING, "warning: x.csv:100: 3 rows [b] left, \\[y]"),
        (logging.ERROR, "error: x.csv:100: 3 rows [b] left, \\[y]"),
    ],
)
def test_log_lines_are_printed_as_they_are(level, line):
    """Brackets are no markup, `:100:` is no image, and from a warning on a line says what it is."""
    console, out = plain_console()
    logger = logging.Logger("test")
    logger.addHandler(ConsoleHandler(console))
    logger.log(level, "%s: %d rows [b] left, \\[y]", "x.csv:100", 3)
    assert out.getvalue() == line + "\n"


def test_long_lines_are_not_broken():
    console, out = plain_console()
    ConsoleHandler(console).emit(
        logging.LogRecord("x", logging.INFO, "", 0, "word " * 100 + "end", None, None)
    )
    assert out.getvalue().count("\n") == 1


def test_without_a_terminal_the_bar_is_a_line_now_and_then(monkeypatch):
    console, out = plain_console()
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(track, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with Bar(console, total=2000, done=1000) as bar:
        for step in range(1001, 1041):
            clock.now += 1.0
            bar.advance(step, rows=8, loss=0.25)
        bar.say("epoch 1")
    lines = out.getvalue().splitlines()
    assert lines == ["step 1,031/2,000  loss 0.2500  8.0 rows/s", "epoch 1"]


def test_on_a_terminal_the_bar_shows_loss_and_speed():
    console, out = plain_console(force_terminal=True)
    with Bar(console, total=20, done=10) as bar:
        bar.advance(11, rows=8, loss=0.25)
        bar.say("epoch 1")
    shown = out.getvalue()
    assert "11/20 steps" in shown
    assert "loss 0.2500" in shown
    assert "epoch 1" in shown


def test_a_reader_that_leaves_does_not_end_the_run(monkeypatch, capsys):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    closed = []
    monkeypatch.setattr(track, "close_output", lambda: closed.append(True))
    console = RunConsole(quiet=False)
    monkeypatch.setattr(console, "file", Closed())
    console.print("epoch 1")
    console.print("epoch 2")
    assert closed == [True]
    assert capsys.readouterr().err.count("the run goes on") == 1
