import matplotlib.pyplot as plt
import pandas as pd
import pytest

from helpers.plots import networks


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [0.7, 0.5, 0.4],
            "accuracy": [0.5, 0.7, 0.8],
            "val_loss": [0.7, 0.6, 0.9],
            "val_accuracy": [0.5, 0.8, 0.7],
            "test_loss": [0.7, 0.9, 0.6],
            "test_accuracy": [0.5, 0.6, 0.9],
            "best": [False, True, False],
        }
    )


def _texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text))


def test_when_networks_are_drawn_then_each_block_says_its_size_and_parameters():
    columns = ["network", "kind", "layers", "side", "channels", "parameters"]
    rows = [
        ("one", "input", 0, 64, 3, 0),
        ("one", "convolution", 2, 32, 16, 2_768),
        ("one", "dense", 1, 1, 2, 34),
        ("two", "input", 0, 64, 3, 0),
        ("two", "dense", 1, 1, 2, 24_578),
    ]
    fig = networks.architectures(pd.DataFrame(rows, columns=columns), "counted")
    said = _texts(fig)
    assert "one\n3 layers, 3 k" in said
    assert "32 x 32 x 16\n2 conv, 3 k" in said
    assert [len(ax.patches) for ax in fig.axes] == [3, 2]


def test_when_curves_are_drawn_then_the_kept_epoch_has_the_ring(history):
    fig = networks.training_curves({"one": history}, "It learns", "drawn")
    rings = [ax.collections[0].get_offsets().tolist() for ax in fig.axes]
    assert rings == [[[2.0, 0.6]], [[2.0, 0.8]]]


def test_when_a_stage_follows_then_a_line_stands_between_the_two(history):
    stages = history.assign(stage=[0, 0, 1])
    fig = networks.training_curves({"one": stages}, "It learns", "drawn")
    lines = [line for ax in fig.axes for line in ax.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in lines] == [2.5, 2.5]


def test_when_one_epoch_is_wild_then_the_others_can_still_be_read(history):
    wild = history.assign(val_loss=[0.7, 0.6, 900.0])
    fig = networks.training_curves({"one": wild}, "It learns", "drawn")
    assert fig.axes[0].get_ylim()[1] < 5


def test_when_optimizers_are_compared_then_each_has_a_line_by_rising_rate():
    rows = [("sgd", 0.02, 0.4, 0.8), ("sgd", 0.0002, 0.7, 0.6), ("adam", 0.0002, 0.5, 0.7)]
    names = ["optimizer", "learning_rate", "loss", "val_accuracy"]
    fig = networks.rate_comparison(pd.DataFrame(rows, columns=names), "drawn")
    sgd = fig.axes[0].lines[0]
    assert sgd.get_xdata().tolist() == [0.0002, 0.02]
    assert {"sgd", "adam", "the paper's 0.0002"} <= set(_texts(fig).splitlines())


def test_when_a_training_was_repeated_then_the_mean_is_drawn_with_a_bar_from_low_to_high():
    rows = [("sgd", 0.02, 0.4, 0.8), ("sgd", 0.02, 0.6, 0.9)]
    names = ["optimizer", "learning_rate", "loss", "val_accuracy"]
    loss, accuracy = networks.rate_comparison(pd.DataFrame(rows, columns=names), "drawn").axes
    assert loss.lines[0].get_ydata().tolist() == [0.5]
    assert loss.collections[0].get_segments()[0][:, 1].tolist() == [0.4, 0.6]
    assert accuracy.collections[0].get_segments()[0][:, 1].tolist() == [0.8, 0.9]


def test_when_only_one_rate_was_tried_then_both_panels_have_it_in_view():
    names = ["optimizer", "learning_rate", "loss", "val_accuracy"]
    one = pd.DataFrame([("sgd", 2e-4, 0.9, 0.6), ("adam", 2e-4, 0.5, 0.6)], columns=names)
    fig = networks.rate_comparison(one, "drawn")
    fig.canvas.draw()
    assert [0 < ax.get_xlim()[0] < 2e-4 < ax.get_xlim()[1] < 1e-3 for ax in fig.axes] == [True] * 2
