"""Every ``--help`` has examples, and each example is a valid command line."""

from __future__ import annotations

import shlex

import pytest

from ppdet_res2net.cli import main as cli
from res2net_runtime.arguments import FlagParser
from tests.helpers.command_lines import MAINS, Parsed, parse_only


@pytest.fixture
def help_of(capsys):
    def get(command: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            MAINS[command](["--help"])
        assert stopped.value.code == 0
        return capsys.readouterr().out

    return get


@pytest.mark.parametrize("command", MAINS)
def test_examples_are_valid(command, help_of):
    examples = help_of(command).partition("\nexamples:\n")[2].splitlines()
    assert examples
    modules = {
        "runtime": "res2net_runtime",
        "quantize": "res2net_runtime.quantize",
        "runtime.batch": "res2net_runtime.batch",
        "runtime.serve": "res2net_runtime.serve",
    }
    last = modules.get(command, command.split()[-1])
    for example in examples:
        words = shlex.split(example)
        parse_only(command, words[words.index(last) + 1 :])


@pytest.mark.parametrize("command", MAINS)
def test_every_option_is_described(command, monkeypatch):
    parsers = []

    def keep_and_stop(self, args=None, namespace=None):
        parsers.append(self)
        raise Parsed

    monkeypatch.setattr(FlagParser, "parse_args", keep_and_stop)
    with pytest.raises(Parsed):
        MAINS[command]([])
    (parser,) = parsers
    assert parser.description.rstrip().endswith(".")
    for action in parser._actions:
        name = action.option_strings or action.dest
        assert action.help or action.choices, f"{name} has no help"
        if action.nargs != 0 and action.choices is None:
            assert action.metavar, f"{name} has no metavar"
        has_default = action.default not in (None, False, [], "==SUPPRESS==")
        if has_default:
            shown = action.help % {**vars(action), "prog": ""}
            assert "default" in shown, f"{name} does not say its default"


@pytest.mark.parametrize("words", [["help", "plot"], ["plot", "-h"]])
def test_help_is_a_command_too(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ppdet-res2net plot ")


def test_help_alone_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["help"])
    assert stopped.value.code == 0
    assert "\ncommands:\n" in capsys.readouterr().out


def test_no_command_is_wrong_usage_and_lists_the_commands(capsys):
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert "\ncommands:\n" in captured.err and captured.out == ""


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("trian", "Did you mean 'train'?"),
        ("check_dataset", "Did you mean 'check-dataset'?"),
        ("export_model.py", "Here it is called 'ppdet-res2net export'."),
        ("x2coco", "Here it is called 'ppdet-res2net convert-dataset'."),
        ("predict", "Here it is called 'ppdet-res2net infer'."),
    ],
)
def test_commands_of_other_tools(typed, answer, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([typed])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"there is no command '{typed}'. {answer}\n")
