"""`ladder` (LVAE): pointwise layers between the rungs (Sonderby et al. 2016; the study, section 2.4).

A map keeps every position apart until the decoder reads them; a dense ladder reads the whole line at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.parts import LadderSettings, LatentSettings, RecurrentDecoderSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class PointwiseLadderSettings:
    """Settings of the ladder with linear layers."""

    ladder: LadderSettings = field(default_factory=LadderSettings)
    """The deterministic layers."""

    latent: LatentSettings = field(default_factory=lambda: LatentSettings(shape="dense", channels=(32, 16, 8)))
    """The latent variables."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""


@architecture("ladder", PointwiseLadderSettings, "several rungs with linear layers between them")
def build(settings: PointwiseLadderSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose a ladder of pointwise layers, over the flattened line (dense) or position by position (map)."""
    from textvae.model.ladder import RungLayers, build_ladder
    from textvae.nn.layers import Chain, Flatten, Pointwise, Repeat
    from textvae.shapes import MapShape

    s = settings

    def between(inlet: MapShape, channels: int) -> Chain:
        return Chain(inlet, [Pointwise(inlet, channels, s.ladder.norm, s.ladder.dropout)])

    def reconstruction(bottom: MapShape, outlet: MapShape) -> Chain:
        layer = Pointwise(bottom, outlet.channels, dropout=s.ladder.dropout)
        return Chain(bottom, [layer] if layer.outlet == outlet else [layer, Repeat(layer.outlet, outlet.positions)])

    layers = RungLayers(
        entry=lambda h: Chain(h, [Flatten(h)] if s.latent.shape == "dense" else []),
        up=between,
        down=lambda above, outlet: between(above, outlet.channels),
        reconstruction=reconstruction,
    )
    return build_ladder(vocabulary, max_tokens, layers, s.ladder, s.latent, s.decoder)
