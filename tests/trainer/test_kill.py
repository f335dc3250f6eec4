import json
import os
import subprocess
from pathlib import Path

import pytest
from builders import SUPPORT

STRESS = os.environ.get("WEIGHTLAPSE_STRESS") == "1"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork are POSIX")
def test_fault_26_kill_while_saving(python: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    command, environment = python
    kills = 200 if STRESS else 8
    script = SUPPORT / "kill_trainer.py"
    done = subprocess.run(
        [*command, str(script), str(tmp_path), str(kills)],
        env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["killed"] == kills
    if STRESS:
        assert outcome["while_saving"] >= 10  # or the moments were not those that matter
