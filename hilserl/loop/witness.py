"""A person's verdict on each episode, beside the classifier's: Success or Failure, pressed after it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from teleop.inputs import Button, Follower, Operator, OperatorState, Prompt

ASK = "was that a success? Success (Y) or Failure (A)"
LOOK_S = 0.02


class Witness:
    """Implements `Operator`: the person's device, of which the verdict buttons count between two episodes."""

    def __init__(self, device: Operator, path: Path) -> None:
        """Stand beside a device; verdicts are appended to the file at `path`."""
        self._device, self._path = device, path
        self.judges = ""  # uuid of the episode that has ended and is to be judged

    def read(self) -> OperatorState:
        """Read the device, and note a verdict; the newest one counts."""
        state = self._device.read()
        verdict = {Button.SUCCESS: True, Button.FAILURE: False}
        for button in state.pressed & verdict.keys():
            if self.judges:
                with self._path.open("a") as file:
                    file.write(json.dumps({"uuid": self.judges, "success": verdict[button]}) + "\n")
        return state

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Pass it on; an episode that ended waits for its verdict until the next one starts."""
        if prompt is Prompt.EPISODE_ENDED:
            self.judges = str(details["uuid"])
        elif prompt is Prompt.EPISODE_STARTED:
            self.judges = ""
        self._device.tell(prompt, **details)

    def follow(self, follower: Follower) -> None:
        """Pass it on."""
        self._device.follow(follower)

    def close(self) -> None:
        """Release the device."""
        self._device.close()

    def ask_last(self, say: Callable[[str], None], give_up_s: float) -> None:
        """Wait for the verdict on the last episode, after which no other one starts; `give_up_s` at most."""
        say(ASK)
        until_s, last = time.monotonic() + give_up_s, self.judges
        while last and last not in read_verdicts(self._path) and time.monotonic() < until_s:
            self.read()
            time.sleep(LOOK_S)


def read_verdicts(path: Path) -> dict[str, bool]:
    """Return {episode uuid: the person saw success}; {} when nobody judged."""
    if not path.exists():
        return {}
    whole = path.read_text().rpartition("\n")[0].splitlines()  # a kill may leave a torn last line
    return {entry["uuid"]: bool(entry["success"]) for entry in map(json.loads, whole)}
