"""Checks of the exercises: one module for each notebook, one function for each exercise.

A check takes what a student wrote and says in words what is wrong with it. It is no part of the
house: nothing in the other rooms imports it. Its steps are pairs, whether something is wrong and
what to say then, and the first that is wrong ends it.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

Steps = Iterator[tuple[bool, str]]


class AnswerError(Exception):
    """What a student can mend: a notebook shows the sentence alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


class Right(str):
    """What a check returns for a right answer; a notebook shows it without quotation marks."""

    def __repr__(self) -> str:
        return f"Right: {self}"


def check(lesson: str) -> Callable[[Callable[..., Steps]], Callable[..., Right]]:
    """Makes a check of a function that yields its steps: (is wrong, what to say then).

    Args:
        lesson: One sentence that a right answer has shown.

    Returns:
        A decorator. The check returns `lesson`, or raises `AnswerError`: with the first step
        that is wrong, if the answer is still the stub, or with the error that it ended in.
    """

    def decorate(steps: Callable[..., Steps]) -> Callable[..., Right]:
        @functools.wraps(steps)
        def ask(*answers: Any) -> Right:
            try:
                hint = next((str(hint) for is_wrong, hint in steps(*answers) if is_wrong), "")
            except NotImplementedError:
                hint = "nothing is written here so far. Replace the line `raise …` by your answer."
            except Exception as error:
                hint = f"your answer ended in {type(error).__name__}: {error}"
            if hint:
                raise AnswerError(hint)
            return Right(lesson)

        return ask

    return decorate
