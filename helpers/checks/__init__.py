"""Checks of the exercises: one module for each notebook, one function for each exercise.

A check takes what a student wrote and says in words what is wrong with it. It is no part of the
house: nothing in the other rooms imports it. Its steps are pairs, whether something is wrong and
what to say then, and the first that is wrong ends it.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Answer = Callable[..., Any]
Steps = Iterator[tuple[bool, str]]


class AnswerError(Exception):
    """What a student can mend: a notebook shows the sentence alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


class Right(str):
    """What a check returns for a right answer; a notebook shows it without quotation marks."""

    def __repr__(self) -> str:
        return f"Right: {self}"


def check(lesson: str) -> Callable[[Callable[[Answer], Steps]], Callable[[Answer], Right]]:
    """Makes a check of a function that yields its steps: (is wrong, what to say then).

    Args:
        lesson: One sentence that a right answer has shown.

    Returns:
        A decorator. The check returns `lesson`, or raises `AnswerError`: with the first step
        that is wrong, if the answer is still the stub, or with the error that it ended in.
    """

    def decorate(steps: Callable[[Answer], Steps]) -> Callable[[Answer], Right]:
        @functools.wraps(steps)
        def ask(answer: Answer) -> Right:
            try:
                hint = next((hint for is_wrong, hint in steps(answer) if is_wrong), "")
            except NotImplementedError:
                hint = "nothing is written here so far. Replace the line `raise …` by your answer."
            except Exception as error:
                hint = f"your answer ended in {type(error).__name__}: {error}"
                hint += ". Does your function end in `return …`?" if "None" in hint else ""
            if hint:
                raise AnswerError(hint)
            return Right(lesson)

        return ask

    return decorate


def differs(said: Any, right: Any) -> bool:
    """Tells whether an answer has another value or is of another kind: 2.0 is no whole number."""
    one, other = np.asarray(said), np.asarray(right)
    return one.dtype.kind != other.dtype.kind or not np.array_equal(one, other)


def named(found: Any, name: str, is_due: bool, facts: str) -> tuple[bool, str]:
    """Makes the step that asks whether a name is among those found, just if it is due."""
    if not isinstance(found, list | set | frozenset | tuple):
        return True, f"return a list or set of names, not {type(found).__name__}"
    slip = "named" if name in found else "forgot"
    return (name in found) != is_due, f"you {slip} {name}: {facts}"


def predicted(said: Any, truths: dict[str, float], margin: float = 0, factor: float = 1) -> Steps:
    """Asks whether each number predicted is near what came out, and says else how far it was.

    Args:
        said: One number, or as many as there are truths, in their order.
        truths: What came out, by the words for it.
        margin: By how much a number may be off.
        factor: How many times as much, or as little, a number may be.
    """
    numbers = np.ravel(said)
    fit = numbers.dtype.kind in "if" and len(numbers) == len(truths)
    yield not fit, f"expected in numbers: {'; '.join(truths)}. You returned {said!r}"
    for (what, truth), one in zip(truths.items(), numbers, strict=True):
        near = truth / factor - margin <= one <= truth * factor + margin
        yield not near, f"{what}: you said {one:g}, not {truth:.3g}: {one - truth:+.3g} off"
