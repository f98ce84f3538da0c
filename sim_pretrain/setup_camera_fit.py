"""`hilserl setup camera-fit`: where the wrist camera sits and what it sees, from frames of a ChArUco board.

1. `hilserl setup camera-fit --board=board.png`; print it at 100 %, lay it flat in front of the arm.
2. `hilserl record --keep_native=true ...`: bring the board into sight, stop for half a second, drive on, many times.
3. `hilserl setup camera-fit --run=RUN`; look at the overlay it writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from hilserl.flags import parse_flags
from sim_pretrain.camera_frames import FrameConfig

if TYPE_CHECKING:
    import numpy as np

    from data.schema import Episode
    from data.spec import CameraSpec, TaskSpec
    from data.store.reader import AnnotatedReader
    from sim_pretrain.camera_fit import Fit
    from sim_pretrain.camera_frames import Sightings
    from sim_pretrain.charuco import Board
    from sim_pretrain.profile import WorldProfile
