"""What textvae does, in a few minutes on two cores: train on `messages`, read what the model writes, see how good it is.

`messages` is a built-in grammar of short messages whose exact probabilities are known, so the distance between the
model's bound and the truth is measured, not guessed. Run by `make demo`; writes `runs/demo` and `runs/demo/demo.png`.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import textvae
from textvae.data.sources.messages import Messages
from textvae.plots.training import training_figure

FOLDER = Path("runs") / "demo"
PRESET = "best/messages/rnn-dense"
SAMPLES = 1_000
TEMPERATURE = 0.8
SHOWN = 8


def main() -> None:
    """Train, show, measure, draw."""
    began = time.perf_counter()
    make_room()
    print("Training a variational autoencoder on the built-in corpus `messages` for four and a half minutes …", flush=True)
    vae = textvae.train(preset=PRESET, out=FOLDER)
    source = Messages()

    unseen = vae.prepared().lines["test"]
    heading("Messages it has never seen, through the latent vector and back")
    for line, back in zip(unseen[:SHOWN], vae.reconstruct(unseen[:SHOWN]), strict=True):
        print(f"  {line}\n  → {back}")

    heading(f"Messages it makes up (z from the prior, temperature {TEMPERATURE})")
    samples = vae.sample(SAMPLES, temperature=TEMPERATURE, seed=1)
    for text in samples[:SHOWN]:
        print(f"  {text}")

    heading("On the way from one message to another")
    for text in vae.interpolate(unseen[0], unseen[1], steps=7):
        print(f"  {text}")

    heading("How good is it?")
    measured = vae.evaluate(split="test", importance_samples=10)
    careful, plain = source.accepts(samples).mean(), source.accepts(vae.sample(SAMPLES, seed=1)).mean()
    print(f"  {careful:.1%} of {SAMPLES:,} samples at temperature {TEMPERATURE} are sentences of the grammar; {plain:.1%} at temperature 1")
    print(f"  the source's entropy is {source.entropy:.2f} nats a message: no model's mean bound can be above -{source.entropy:.2f}")
    error = measured.standard_error["elbo"]
    print(f"  ELBO {measured.elbo:.2f} ± {error:.2f} nats = -(distortion {measured.distortion:.2f} + rate {measured.rate:.2f})")
    print(f"  gap to the truth: {measured.gap:.2f} nats a message; importance bound {measured.importance_bound:.2f} nats")
    print(f"  the latent is used: {measured.active_units} of {measured.latent_units} units are active and carry")
    print(
        f"  {measured.mutual_information:.2f} nats about the message (an estimate that saturates at {measured.mutual_information_cap:.2f})"
    )
    picture = training_figure(FOLDER, source.entropy, FOLDER / "demo.png")
    print(f"  the run in a picture: {picture}")

    heading(f"That took {time.perf_counter() - began:.0f} s. Next")
    print(f"""  .venv/bin/textvae sample {FOLDER} -n 5 --temperature 0.7
  .venv/bin/textvae evaluate {FOLDER}
  .venv/bin/textvae interpolate {FOLDER} "Enjoyed this test - very easy!" "wary of the derby tonight - how slow :("
  .venv/bin/textvae train YOUR_FILE.txt --out runs/mine --minutes 10""")


def make_room() -> None:
    """Remove the folder of an earlier demo; stop where the folder holds anything else."""
    if not FOLDER.exists():
        return
    config = FOLDER / "config.json"
    if not config.exists() or json.loads(config.read_text(encoding="utf-8")).get("preset") != PRESET:
        raise SystemExit(f"{FOLDER} holds something that is not a demo's run: move it away, then run the demo again")
    shutil.rmtree(FOLDER)


def heading(text: str) -> None:
    """Print a heading with air around it."""
    print(f"\n{text}\n{'─' * len(text)}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command begins anew, `.venv/bin/textvae train --resume --out {FOLDER}` goes on") from None
