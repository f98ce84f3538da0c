"""The truth of many tables at once: the fields of `Truth`, each an array over the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from sim_pretrain.world.truth import Truth


@dataclass(frozen=True)
class Truths:
    """One instant of N tables, each in its arm's base frame; `Truth` says what the fields mean."""

    cube_m: np.ndarray  # [N, 3]
    cube_yaw_rad: np.ndarray  # [N], like every field without another shape
    cube_tilt_rad: np.ndarray
    cube_speed_m_s: np.ndarray
    cube_half_m: np.ndarray
    ee_m: np.ndarray  # [N, 3]
    gripper_rad: np.ndarray
    static_pad_m: np.ndarray  # [N, 3]
    moving_pad_m: np.ndarray  # [N, 3]
    static_touch: np.ndarray  # bool
    moving_touch: np.ndarray  # bool
    target_m: np.ndarray | None  # [N, 3]

    @staticmethod
    def of(truths: Sequence[Truth]) -> Truths:
        """Stack the truths of single tables of one task."""
        columns = {f.name: [getattr(t, f.name) for t in truths] for f in fields(Truth)}
        return Truths(**{name: None if None in values else np.array(values) for name, values in columns.items()})  # type: ignore[arg-type]

    def one(self, index: int) -> Truth:
        """Return the truth of one table."""
        rows = {name: None if column is None else column[index].tolist() for name, column in vars(self).items()}
        return Truth(**{name: tuple(row) if isinstance(row, list) else row for name, row in rows.items()})  # type: ignore[arg-type]

    def put(self, index: int, truth: Truth) -> None:
        """Overwrite the row of one table."""
        for name, column in vars(self).items():
            if column is not None:
                column[index] = getattr(truth, name)

    @property
    def grasped(self) -> np.ndarray:
        """Whether both pads touch the cube."""
        return self.static_touch & self.moving_touch
