"""`ladder-cnn` (LCNNVAE): convolutions up, transposed convolutions down, each rung on fewer positions (the study, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.config import require
from textvae.parts import LadderSettings, LatentSettings, RecurrentDecoderSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class ConvolutionalLadderSettings:
    """Settings of the ladder with convolutions."""

    kernel: int = 3
    """Kernel of every convolution."""

    stride: int = 2
    """Stride of every rung: how many positions below become one above."""

    ladder: LadderSettings = field(default_factory=LadderSettings)
    """The deterministic layers."""

    latent: LatentSettings = field(default_factory=lambda: LatentSettings(shape="map", channels=(16, 8, 8)))
    """The latent variables."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""

    def __post_init__(self) -> None:
        require(self.kernel >= 1, f"kernel is {self.kernel}: must be at least 1")
        require(self.stride >= 1, f"stride is {self.stride}: must be at least 1")


@architecture("ladder-cnn", ConvolutionalLadderSettings, "several rungs with convolutions between them", latents=("map",))
def build(settings: ConvolutionalLadderSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose a ladder of convolutions."""
    from textvae.model.ladder import RungLayers, build_ladder
    from textvae.nn.layers import Chain, Convolution, TransposedConvolution
    from textvae.shapes import MapShape

    s = settings

    def up(inlet: MapShape, channels: int) -> Chain:
        return Chain(inlet, [Convolution(inlet, channels, s.kernel, s.stride, s.ladder.norm, s.ladder.dropout)])

    def down(above: MapShape, outlet: MapShape) -> Chain:
        return Chain(above, [TransposedConvolution(above, outlet, s.kernel, s.stride, s.ladder.norm, s.ladder.dropout)])

    def reconstruction(bottom: MapShape, outlet: MapShape) -> Chain:
        return Chain(bottom, [TransposedConvolution(bottom, outlet, s.kernel, s.stride, dropout=s.ladder.dropout)])

    layers = RungLayers(up=up, down=down, reconstruction=reconstruction)
    return build_ladder(vocabulary, max_tokens, layers, s.ladder, s.latent, s.decoder)
