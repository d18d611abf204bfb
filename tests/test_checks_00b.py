"""The exercises of notebook 00b: its own solutions pass, stubs and mistakes are told why."""

import numpy as np
import pytest

from helpers.checks import AnswerError, n00b

WEIGHTS = {
    lambda size, channels, filters: size**2 * channels * filters: "each filter has a bias",
    lambda size, channels, filters: size**2 * filters + filters: "numbers for each channel",
    lambda size, channels, filters: size * channels * filters + filters: "have 204 weights, not 44",
    lambda size, channels, filters: size**2 * channels * filters + 1: "have 204 weights, not 201",
    lambda size, channels, filters: None: "have 204 weights, not None",
}


@pytest.mark.parametrize(("wrong", "said"), WEIGHTS.items())
def test_when_weights_are_forgotten_then_the_check_says_which(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n00b.weights(wrong)


def always_valid(n, size, stride, padding):
    return (n - size) // stride + 1


def one_place_lost(n, size, stride, padding):
    return -(-n // stride) if padding == "same" else (n - size) // stride


def same_rounded_down(n, size, stride, padding):
    return n // stride if padding == "same" else (n - size) // stride + 1


def never_rounded(n, size, stride, padding):
    return n / stride if padding == "same" else (n - size) / stride + 1


SIDES = {
    always_valid: r"32 px, tile 3, stride 1, `same`: the tile has 32 places, not 30",
    one_place_lost: r"32 px, tile 1, stride 1, `valid`: the tile has 32 places, not 31",
    same_rounded_down: r"32 px, .* stride 3, `same`: the tile has 11 places, not 10",
    never_rounded: "32 places, not 32.0",
}


@pytest.mark.parametrize(("wrong", "said"), SIDES.items())
def test_when_a_map_has_another_side_then_the_check_counts_the_places(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n00b.side(wrong)


@pytest.mark.parametrize(
    ("said", "hint"),
    [(50, r"90,000 tiles: you said 50, not 6\.\d+: \+43\.\d off"), (25, "you said 25, not 6"),
     (12.5, "you said 12.5, not 6"), (0.0625, "you said 0.0625, not 6"),
     ("6 %", "in numbers: percent of .* returned '6 %'")],
)  # fmt: skip
def test_when_the_predicted_zeros_are_far_off_then_the_check_says_how_many_there_are(said, hint):
    with pytest.raises(AnswerError, match=hint):
        n00b.zeros(lambda: said)


def blocks(grow=2, pool=1, early=0):
    """How many blocks it takes, with mistakes."""

    def count(width):
        sees, jump, number = 1, 1, 0
        while sees < width:
            sees, jump, number = sees + (4 + pool) * jump, grow * jump, number + 1
        return number - early

    return count


BLOCKS = {
    "the jump stays": (blocks(grow=1), r"16 px need 2 blocks \(see 16\), not 3"),
    "pooling sees nothing": (blocks(pool=0), r"6 px need 1 blocks \(see 6\), not 2"),
    "one too early": (blocks(early=1), r"6 px need 1 blocks \(see 6\), not 0"),
}


@pytest.mark.parametrize("mistake", BLOCKS)
def test_when_a_neuron_is_thought_to_see_less_or_more_then_the_check_says_how_far(mistake):
    wrong, said = BLOCKS[mistake]
    with pytest.raises(AnswerError, match=said):
        n00b.blocks(wrong)


def test_when_a_neuron_is_asked_what_it_depends_on_then_it_sees_as_far_as_the_check_says():
    reach = np.zeros((1, 40), dtype=bool)
    reach[0, 20] = True  # one neuron behind two blocks, and what it depends on, layer by layer
    for _ in range(2):
        reach = np.repeat(reach, 2, axis=1)  # pooling
        for _ in range(2):  # convolutions
            reach = reach | np.roll(reach, 1) | np.roll(reach, -1)
    assert reach.sum() == 16
