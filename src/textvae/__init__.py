"""textvae: small, fast, honest variational autoencoders of your own short strings.

    import textvae
    vae = textvae.train("names.txt", preset="hybrid")
    vae.sample(10)

The rest of the public object is documented in `textvae.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textvae.api import TextVAE, load, train

__all__ = ["TextVAE", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first asked for: `import textvae` alone stays light."""
    if name in __all__:
        from textvae import api

        return getattr(api, name)
    raise AttributeError(f"module 'textvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return [*globals(), *__all__]
