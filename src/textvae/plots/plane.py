"""The plane of distortion against rate, on which models of the same lines are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textvae.plots.canvas import NATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATE_AXIS = f"rate KL[q‖p], {NATS}"
DISTORTION_AXIS = f"distortion −log p(x|z), {NATS}"

EQUAL_ELBO: dict[str, Any] = {"color": "#B4B4B4", "linewidth": 0.8, "linestyle": ":", "zorder": 1}


def equal_elbo(axis: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Set the limits of a plane of distortion against rate, and draw lines of equal ELBO, each named where it enters the picture."""
    from matplotlib.ticker import MaxNLocator

    axis.set(xlim=across, ylim=up)
    axis.grid(False)
    axis.plot([], [], **EQUAL_ELBO, label="equal ELBO, named")
    for total in MaxNLocator(9).tick_values(across[0] + up[0], across[1] + up[1]):
        axis.plot(across, [total - rate for rate in across], **EQUAL_ELBO)
        at = (across[0], total - across[0]) if total - across[0] <= up[1] else (total - up[1], up[1])
        if across[0] <= at[0] < 0.95 * across[1] and up[0] < at[1] <= up[1]:  # a name has room only so far to the right
            axis.annotate(
                f"{-total:g}".replace("-", "−"),
                at,
                textcoords="offset points",
                xytext=(3, -8),
                fontsize=7,
                color="#777777",
                zorder=1,
                annotation_clip=True,
            )
