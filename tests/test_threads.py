from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = "import os, textvae; textvae.load; print(os.environ['OMP_WAIT_POLICY'])"


def policy(code: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=inherited | environment, check=True)
    return done.stdout.strip()


def test_threads_wait_politely_unless_the_environment_says_otherwise() -> None:
    assert policy(ASK) == "PASSIVE"
    assert policy(ASK, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"


def test_the_environment_of_a_program_that_has_torch_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from textvae.threads import wait_politely

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setitem(sys.modules, "torch", object())
    wait_politely()
    assert "OMP_WAIT_POLICY" not in os.environ
