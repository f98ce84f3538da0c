"""The tasks under their Gymnasium names: `gymnasium.make("sim_pretrain.register:hilserl/Lift-v0")`.

Gymnasium imports the module before the colon and expects it to register; this is the one import with an effect.
"""

from __future__ import annotations

import gymnasium

for _name, _task in (("Lift", "lift"), ("Bowl", "bowl"), ("Paper", "paper")):
    gymnasium.register(id=f"hilserl/{_name}-v0", entry_point="sim_pretrain.task.env:SimEnv", kwargs={"task": _task})
