"""What all command lines share: types of arguments, flags of other tools, help with examples, and ``--json``."""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO

from res2net_runtime.console import say
from res2net_runtime.errors import did_you_mean
from res2net_runtime.files import save_text
from res2net_runtime.texts import json_text, printable_lines

__all__ = [
    "STDOUT",
    "Answer",
    "FlagParser",
    "Means",
    "Noted",
    "Refused",
    "fraction",
    "json_option",
    "path_text",
    "images_per_batch",
    "positive_int",
    "thread_count",
    "text_output",
    "whole_number",
    "write_json",
]

STDOUT = "-"
_WORDS_FOR_SWITCHES = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True)
class Means:
    """A flag that stands for others; for none if it asks for what is done anyway.

    Attributes:
        words: What it is replaced by; ``{value}`` stands for its value.
        yields: A flag on the command line that says the same, or stands for the same, has precedence. Otherwise, both
            together are an error.
    """

    words: tuple[str, ...] = ()
    yields: bool = False


@dataclass(frozen=True)
class Noted:
    """A flag that changes nothing here; the sentence says why, and the command goes on."""

    sentence: str


@dataclass(frozen=True)
class Refused:
    """A flag that ends the command; the sentence says what to use instead."""

    sentence: str


Answer = Means | Noted | Refused


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return an argument type: a whole number of at least ``minimum``, and at most ``maximum`` if that is given."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"got '{text}', expected a whole number of at least {minimum}") from None
        if value < minimum:
            raise argparse.ArgumentTypeError(f"got {value}, expected at least {minimum}")
        if maximum is not None and value > maximum:
            raise argparse.ArgumentTypeError(f"got {value}, expected at most {maximum}")
        return value

    return parse


positive_int = whole_number(1)
images_per_batch = whole_number(1, 100_000)  # as in recipes


def thread_count(text: str) -> int:
    """Argument type: a number of threads that are of use on this machine."""
    from res2net_runtime.backends.cpu import check_threads  # NumPy comes with it, which --help does not wait for

    try:
        return check_threads(positive_int(text), "the number of threads")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def fraction(text: str) -> float:
    """Argument type: a number from 0 to 1, such as a score."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number from 0 to 1") from None
    if not 0 <= value <= 1:
        hint = f"; for {value:g} percent, write {value / 100:g}" if 1 < value <= 100 else ""
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to 1{hint}")
    return value


def path_text(text: str) -> str:
    """Argument type: a path or a url. An empty one is the value of a shell variable that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("got an empty text, expected a path; is a variable of the shell not set?")
    return text


class FlagParser(argparse.ArgumentParser):
    """A parser that takes options only in full, knows the flags of other tools, and shows examples in ``--help``.

    Switches may have a value, as in PaddleDetection: ``--eval``, ``--eval=true`` and ``--eval True`` are the same, and
    ``--eval=false`` is as if it were not there.

    Args:
        prog: Name of the command, for messages.
        description: What it does; one or a few sentences.
        program: How a shell calls it.
        examples: Command lines without the program, for the help.
        foreign: The answer for each flag of another tool: ``"--flag"`` for every value, ``"--flag=value"`` (in lower
            case) for one value, which comes first.
        explain: Returns a hint for an unknown word, or ``""``.
        **settings: Further arguments of ``argparse.ArgumentParser``.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        program: str,
        examples: Sequence[str] = (),
        foreign: Mapping[str, Answer] | None = None,
        explain: Callable[[str], str] = lambda word: "",
        **settings: Any,
    ) -> None:
        shown = (
            "\n".join(["examples:", *(f"  {program} {example}".rstrip() for example in examples)]) if examples else None
        )
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # Abbreviations would change their meaning whenever an option is added.
        super().__init__(prog=prog, description=_wrap(description), epilog=shown, allow_abbrev=False, **settings)
        self.foreign = dict(foreign or {})
        self._explain = explain
        self._program = program

    # The type of the result is that of ``namespace``.
    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse a command line. An unknown option ends the program with exit code 2, as all wrong usage does."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hints = dict.fromkeys(filter(None, map(self._hint, _join_values(unknown))))
            self.error(". ".join([f"unrecognized arguments: {' '.join(unknown)}", *hints]).replace("?. ", "? "))
        return parsed

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse a command line after flags of other tools are translated; returns the arguments and the unknown words."""
        return super().parse_known_args(self._translate(sys.argv[1:] if args is None else list(args)), namespace)

    def error(self, message: str) -> NoReturn:
        """Print a message and exit with code 2. The usage, which is long here, is left to ``--help``."""
        self.exit(
            2, f"{self.prog}: error: {printable_lines(message)}\n'{self._program} --help' describes the options.\n"
        )

    def _translate(self, words: list[str]) -> list[str]:
        """Replace values of switches and flags of other tools by what the parser knows."""
        given = _options_of(words)
        translated: list[str] = []
        while words:
            word, *words = words
            if word == "--":
                return [*translated, word, *words]
            flag, equals, value = word.partition("=")
            values = [value] if equals else list(itertools.takewhile(_is_value, words))
            action = self._option_string_actions.get(flag)
            answer = self._answer(flag, values[0] if values else "true")
            if answer is not None:
                # Other tools' flags may take several values. No command here has words that could follow one.
                values = values[:1] if action is not None else values
                words = words if equals else words[len(values) :]
                translated += self._apply(answer, flag, " ".join(values), given)
            elif action is not None and action.nargs == 0 and action.const is True:
                if not equals and values and values[0].lower() in ("true", "false"):
                    words = words[1:]
                elif not equals:
                    values = ["true"]
                translated = [other for other in translated if other != flag]
                translated += [flag] if self._switch(flag, values[0]) else []
            else:
                translated.append(word)
        return translated

    def _answer(self, flag: str, value: str) -> Answer | None:
        text = value.lower()
        for spelling in (text, str(_WORDS_FOR_SWITCHES.get(text)).lower()):
            if f"{flag}={spelling}" in self.foreign:
                return self.foreign[f"{flag}={spelling}"]
        return self.foreign.get(flag)

    def _apply(self, answer: Answer, flag: str, value: str, given: Mapping[str, str | None]) -> list[str]:
        shown = f"{flag}={value}" if value else flag
        if isinstance(answer, Refused):
            self.error(f"{shown} is not available here. {answer.sentence}")
        if isinstance(answer, Noted):
            say(f"Note: {shown} changes nothing here. {answer.sentence}", sys.stderr)
            return []
        words = [word.format(value=value or "true") for word in answer.words]
        if answer.yields and any(
            self._stands_for(other, text, words[0]) for other, text in given.items() if other != flag
        ):
            return []
        if words and words[0] in given and words[0] != flag:
            if not answer.yields and words[1:] and given[words[0]] != words[1]:
                self.error(f"{shown} means {' '.join(words)} here, and {words[0]} is given too; leave one of them out")
            return []
        return words

    def _stands_for(self, flag: str, value: str | None, known: str) -> bool:
        answer = self._answer(flag, value or "true")
        return isinstance(answer, Means) and answer.words[:1] == (known,) and not answer.yields

    def _switch(self, flag: str, value: str) -> bool:
        is_on = _WORDS_FOR_SWITCHES.get(value.lower())
        if is_on is None:
            self.error(f"argument {flag}: got '{value}', expected true or false, or no value, which means true")
        return is_on

    def _all_options(self) -> Iterator[str]:
        """Yield the options of the parser, and of the parsers of its sub-commands."""
        yield from self._option_string_actions
        for action in self._actions:
            for parser in action.choices.values() if isinstance(action.choices, Mapping) else ():
                yield from parser._option_string_actions if isinstance(parser, argparse.ArgumentParser) else ()

    def _hint(self, word: str) -> str:
        if not word.startswith("-") or _is_value(word):
            return self._explain(word)
        flag = word.partition("=")[0]
        known = [*self._all_options(), *(name.partition("=")[0] for name in self.foreign)]
        spelled = "--" + flag.lstrip("-").replace("-", "_")
        if spelled != flag and "-" in flag.lstrip("-"):
            suggestion = f". Did you mean '{spelled}'?" if spelled in known else did_you_mean(spelled, known)
            return f"Options are spelled with underscores, as in PaddleDetection{suggestion}"
        return self._explain(word) or did_you_mean(flag, known).strip()


def json_option(what: str) -> dict[str, Any]:
    """Return the settings of ``--json [FILE]`` for ``add_argument``; :func:`write_json` serves it."""
    return {
        "nargs": "?",
        "const": STDOUT,
        "metavar": "FILE",
        "help": f"write {what} as JSON to FILE; without FILE, to standard output, where nothing else is then printed",
    }


def text_output(json_target: str | None) -> TextIO:
    """Return where a command prints its text: standard output, or standard error while JSON goes to standard output."""
    return sys.stderr if json_target == STDOUT else sys.stdout


def write_json(target: str, content: object) -> None:
    """Write JSON to a file, or to standard output if ``target`` is ``-``.

    Raises:
        Res2NetError: The file cannot be written.
    """
    if target != STDOUT:
        save_text(target, json_text(content, indent=2) + "\n")
        return
    # An ASCII terminal would otherwise show escapes that are not JSON's.
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf_8")
    say(json_text(content, indent=2, only_ascii=not is_unicode))


def _wrap(text: str) -> str:
    return textwrap.fill(text, max(40, shutil.get_terminal_size().columns - 2))


def _is_value(word: str) -> bool:
    return not word.startswith("-") or re.fullmatch(r"-\d+(\.\d*)?", word) is not None


def _join_values(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with each option and its value as one, ``--option=value``."""
    joined: list[str] = []
    for word in words:
        is_option = joined and joined[-1].startswith("-") and "=" not in joined[-1]
        if is_option and _is_value(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _options_of(words: Iterable[str]) -> dict[str, str | None]:
    """Return the options of a command line with their first values; None for those without one."""
    words = list(words)
    options: dict[str, str | None] = {}
    for word, following in zip(words, [*words[1:], "--"]):
        if word.startswith("--"):
            flag, has_value, value = word.partition("=")
            options[flag] = value if has_value else following if _is_value(following) else None
    return options
