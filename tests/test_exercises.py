"""Holds the exercises to their form, and their solutions and stubs to the checks."""

import ast
import importlib
import re

import nbformat
import pytest
from solved import solutions, stub

from helpers import checks
from notebooks.exercises import generate

MASTERS = generate.masters()


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


@pytest.fixture(params=MASTERS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def master(path):
    return nbformat.read(path, as_version=4)


def test_when_a_student_notebook_is_made_anew_then_it_is_the_one_committed(path):
    assert (generate.HERE / path.name).read_text(encoding="utf-8") == generate.generate(path)


def test_when_a_student_notebook_is_there_then_it_has_a_master():
    made = {path.name for path in generate.HERE.glob("*.ipynb")}
    assert made == {path.name for path in MASTERS}


def test_when_exercises_are_counted_then_there_are_three_to_five_and_one_asks_to_predict(master):
    exercises = tagged(master, "exercise")
    numbers = [int(re.match(r"\*\*Exercise (\d)", cell.source)[1]) for cell in exercises]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 3 <= len(numbers) <= 5
    assert sum("Predict, then run" in cell.source for cell in exercises) >= 1


def test_when_an_exercise_is_read_then_two_hints_are_folded_in_it(master):
    folds = [
        re.findall(r"<summary>(Hint \d)</summary>", c.source) for c in tagged(master, "exercise")
    ]
    assert all(fold == ["Hint 1", "Hint 2"] for fold in folds)


def test_when_an_exercise_is_read_then_its_solution_and_its_check_follow(master):
    kinds = [
        next(tag for tag in ("exercise", "solution", "check") if tag in cell.metadata.tags)
        for cell in master.cells
        if cell.cell_type == "code" or "exercise" in cell.metadata.get("tags", [])
        if {"exercise", "solution", "check"} & set(cell.metadata.get("tags", []))
    ]
    assert re.fullmatch(r"(exercise,(solution,)+check,)+", ",".join(kinds) + ",")


def test_when_a_solution_is_read_then_it_is_imports_and_functions_with_a_docstring(master):
    for cell in tagged(master, "solution"):
        if cell.cell_type == "code":
            assert "hide-input" in cell.metadata.tags
            for node in ast.parse(cell.source).body:
                assert isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
                assert not isinstance(node, ast.FunctionDef) or ast.get_docstring(node)


def test_when_a_quiz_is_read_then_it_has_two_to_four_questions_with_folded_answers(master):
    folds = [len(re.findall(r"<summary>", cell.source)) for cell in tagged(master, "quiz")]
    assert 2 <= sum(folds) <= 4


def test_when_a_stub_is_read_then_it_only_raises(path):
    student = nbformat.read(generate.HERE / path.name, as_version=4)
    for cell in tagged(student, "solution"):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.FunctionDef):
                *_, last = node.body
                assert len(node.body) == 2
                assert ast.unparse(last) == "raise NotImplementedError"


def test_when_solutions_are_checked_then_each_is_right(path, master):
    for cell in tagged(master, "check"):
        assert repr(eval(cell.source, solutions(path.stem))).startswith("Right: ")


def test_when_stubs_are_checked_then_each_check_says_that_nothing_is_written(path, master):
    text = "\n".join(c.source for c in tagged(master, "solution") if c.cell_type == "code")
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    for cell in tagged(master, "check"):
        with pytest.raises(checks.AnswerError, match="nothing is written"):
            eval(cell.source, solutions(path.stem) | dict.fromkeys(names, stub))


def test_when_checks_are_asked_then_each_of_their_module_is_used_in_the_notebook(path, master):
    name = f"n{path.stem.split('_')[0]}"
    module = importlib.import_module(f"helpers.checks.{name}")
    text = "\n".join(cell.source for cell in tagged(master, "check"))
    asked = re.findall(rf"{name}\.(\w+)\(", text)
    offered = [name for name, value in vars(module).items() if hasattr(value, "__wrapped__")]
    assert sorted(set(asked)) == sorted(offered)


SOLVED = """import math


def root(x: float) -> float:
    '''Returns the root.'''
    return math.sqrt(x)"""


def test_when_a_stub_is_made_then_signature_and_docstring_are_left_over():
    assert generate.stub(SOLVED) == SOLVED.replace(
        "return math.sqrt(x)", "raise NotImplementedError"
    )


@checks.check("a root")
def root(answer):
    yield answer(4) == 16, "that is the square"
    yield answer(4) != 2, "that is no root"


def _stub(x):
    raise NotImplementedError


MISTAKES = {
    "the square": lambda x: x * x,
    "no root": lambda x: 3,
    "nothing is written": _stub,
    "ZeroDivisionError": lambda x: x / 0,
}


@pytest.mark.parametrize("said", MISTAKES)
def test_when_an_answer_is_wrong_then_the_check_says_in_words_why(said):
    with pytest.raises(checks.AnswerError, match=said):
        root(MISTAKES[said])


def test_when_an_answer_is_right_then_the_lesson_is_said():
    assert repr(root(lambda x: x**0.5)) == "Right: a root"


def test_when_the_return_is_forgotten_then_the_check_asks_for_it():
    @checks.check("a sum")
    def total(answer):
        yield answer() + 1 != 2, "it is 1"

    with pytest.raises(checks.AnswerError, match="end in `return …`"):
        total(lambda: None)
