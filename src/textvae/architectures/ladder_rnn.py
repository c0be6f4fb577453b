"""`ladder-rnn`: recurrent layers between the rungs (the study's future work, section 7.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from textvae.architectures import architecture
from textvae.config import CellName, require
from textvae.parts import LadderSettings, LatentSettings, RecurrentDecoderSettings

if TYPE_CHECKING:
    from textvae.model.text_model import LatentTextModel


@final
@dataclass(frozen=True, kw_only=True)
class RecurrentLadderSettings:
    """Settings of the ladder with recurrent layers. Channels are split over the two directions, so they are even."""

    cell: CellName = "gru"
    """Recurrent cell of the rungs."""

    ladder: LadderSettings = field(default_factory=LadderSettings)
    """The deterministic layers."""

    latent: LatentSettings = field(default_factory=lambda: LatentSettings(shape="map", channels=(8, 8, 8)))
    """The latent variables."""

    decoder: RecurrentDecoderSettings = field(default_factory=RecurrentDecoderSettings)
    """The recurrent decoder."""

    def __post_init__(self) -> None:
        widths = (*self.ladder.hidden, self.ladder.reconstruction)
        odd = [width for width in widths if width % 2]
        require(not odd, f"ladder: widths {odd} are odd; a recurrent layer splits them over two directions, so give even ones")


@architecture("ladder-rnn", RecurrentLadderSettings, "several rungs with recurrent layers between them", latents=("map",))
def build(settings: RecurrentLadderSettings, vocabulary: int, max_tokens: int) -> LatentTextModel:
    """Compose a ladder of bidirectional recurrent layers."""
    from textvae.model.ladder import RungLayers, build_ladder
    from textvae.nn.layers import BidirectionalRecurrence, Chain
    from textvae.shapes import MapShape

    s = settings

    def between(inlet: MapShape, channels: int) -> Chain:
        return Chain(inlet, [BidirectionalRecurrence(inlet, channels // 2, s.cell, s.ladder.dropout)])

    def down(above: MapShape, outlet: MapShape) -> Chain:
        return between(above, outlet.channels)

    layers = RungLayers(up=between, down=down, reconstruction=down)
    return build_ladder(vocabulary, max_tokens, layers, s.ladder, s.latent, s.decoder)
