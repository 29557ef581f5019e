"""Matplotlib figures without a display; the caller saves them."""

from typing import Any

BASE, CANDIDATE, MUTED = "#7f8fa6", "#0b6e99", "#b0b0b0"


def new_figure(title: str, x_label: str, y_label: str, height: float = 4.0) -> tuple[Any, Any]:
    """A new figure and its axes, outside matplotlib's global state; `height` in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=as_text(title), xlabel=as_text(x_label), ylabel=as_text(y_label))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_text(name: str) -> str:
    """A name as matplotlib shows it unchanged: not set as mathematics between dollar signs, nor left out of a legend for a leading "_"."""
    return (f" {name}" if name.startswith("_") else name).replace("$", r"\$")


def empty_figure(figure: Any, axes: Any, reason: str) -> Any:
    """The figure with only the reason why it is empty."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes, color="grey")
    return figure
