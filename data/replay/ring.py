"""The memory that a learner samples: whole episodes, every frame once, bounded in bytes.

A slot holds one frame and the step that leaves it; links lead to the slots of the frame before and after it in the
same episode. The first frame links back to itself and the last one forward to itself, so that a walk along the links
never leaves the episode: a frame stack repeats the first frame, and an n-step return ends at the true last frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.errors import UserError
from data.replay.capacity import GIB, Layout
from data.schema import Episode, Source
from data.views import Role, roles


class Drawn(NamedTuple):
    """B sampled steps as slots of the ring; all on its device."""

    now: Tensor  # int64 [B, S], the frames that the action was chosen on, oldest first
    later: Tensor  # int64 [B, S], the frames n steps later, or the last ones of the episode
    reward: Tensor  # float [B], discounted sum over the steps between
    bootstrap: Tensor  # float [B], factor of the value at `later`: discount ** steps, 0 where the episode terminated


class Ring:
    """Columns [slots, ...] on one device; one thread at a time.

    When it is full, the oldest steps whose role is `ONLINE` leave it, one by one; demonstrations and interventions
    never do. A frame leaves when no step that is left needs it, be it as a neighbour in a stack or in a return.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        capacity_bytes: int,
        stack: int = 1,
        n_step: int = 1,
        discount: float = 1.0,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """Reserve the capacity. On the CPU the system hands out memory only as slots are filled, on a GPU at once.

        Args:
            layout: what a slot holds.
            capacity_bytes: of everything that the ring keeps.
            stack: frames in an observation.
            n_step: steps in a return.
            discount: per step of a return; with 1 and n_step 1, `Drawn.bootstrap` is a mask.
            seed: of the draws.
            device: "cpu" or a GPU, for the columns; the indices are on the CPU.

        Raises:
            UserError: the system refuses that much.
        """
        self._stack, self._n_step, self._discount = stack, n_step, discount
        self._device, self._capacity_bytes = device, capacity_bytes
        self.slots = layout.slots(capacity_bytes)
        self.generator = torch.Generator().manual_seed(seed)
        try:
            self._columns = {
                name: torch.empty((self.slots, *column.shape), dtype=column.dtype, device=device)
                for name, column in layout.columns.items()
            }
        except RuntimeError as error:  # torch says only how many bytes
            raise UserError(
                f"{device} has no room for a replay memory of {capacity_bytes / GIB:.1f} GiB.\n"
                "Lower the capacity: --learner.replay.capacity_gib"
            ) from error
        self._before, self._after = np.zeros((2, self.slots), np.int64)
        self._users = np.zeros(self.slots, np.int32)  # steps that need this frame
        self._reward = np.zeros(self.slots, np.float32)
        self._terminated, self._held, self._protected, self._online = np.zeros((4, self.slots), bool)
        self._free: np.ndarray = np.arange(self.slots)  # never used ones first
        self._written = 0  # slots ever used
        self._index(np.empty(0, np.int64))

    def __len__(self) -> int:
        """Number of steps that can be sampled."""
        return len(self._order)

    def __getitem__(self, name: str) -> Tensor:
        """Return a column, up to the last slot that was ever used."""
        return self._columns[name][: self._written]

    @property
    def demonstrations(self) -> int:
        """Number of steps in the half of demonstrations and interventions."""
        return len(self._demonstrations)

    def add(self, episode: Episode, frames: Mapping[str, Tensor]) -> None:
        """Append a whole episode, dropping old policy steps if need be.

        Args:
            episode: T steps; its state, executed actions, rewards and roles are kept, its images are not.
            frames: what else is kept of each frame, {column: [T+1, ...]}.

        Raises:
            UserError: nothing that may be dropped is left, and there is still no room.
        """
        length, human = len(episode), episode.source == Source.HUMAN
        slots = self._take(length + 1)
        for name, rows in frames.items():
            self._write(name, slots, rows)
        self._write("state", slots, torch.from_numpy(episode.state))
        self._write("action", slots[:-1], torch.from_numpy(episode.executed))
        self._write("human", slots[:-1], torch.from_numpy(human.astype(np.float32)))
        self._before[slots] = np.concatenate((slots[:1], slots[:-1]))
        self._after[slots] = np.concatenate((slots[1:], slots[-1:]))
        frame = np.arange(length + 1)  # step u needs the frames u - stack + 1 to u + n_step
        first, last = np.maximum(frame - self._n_step, 0), np.minimum(frame + self._stack, length)
        self._users[slots] = last - first
        self._reward[slots] = np.append(episode.reward, 0.0)
        self._terminated[slots] = np.append(episode.terminated, False)
        self._held[slots] = frame < length
        self._protected[slots[:-1]] = roles(episode) != Role.ONLINE
        self._online[slots[:-1]] = episode.meta.kind != "demo"
        self._index(np.concatenate((self._order, slots[:-1])))

    def draw(self, count: int) -> Drawn:
        """Draw steps with replacement: exactly half from demonstrations and interventions, the other from online data.

        Online data is whatever was recorded while the policy was in charge of the episode, take-overs included: all but
        episodes of kind "demo". A half that has nothing to draw from yet leaves the whole batch to the other.

        Raises:
            ValueError: the ring is empty.
        """
        if not len(self):
            raise ValueError("there is no step to draw yet; add an episode first")
        half = count // 2 if len(self._demonstrations) else 0
        half = half if len(self._any_online) else count
        online = self._pick(self._any_online, count - half)
        return self._around(np.concatenate((self._pick(self._demonstrations, half), online)))

    def rng_state(self) -> Tensor:
        """Return the sampling generator's state, for checkpoints."""
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor) -> None:
        """Restore what `rng_state` returned."""
        self.generator.set_state(state)

    def _pick(self, steps: np.ndarray, count: int) -> np.ndarray:
        return steps[torch.randint(max(len(steps), 1), (count,), generator=self.generator).numpy()]

    def _around(self, step: np.ndarray) -> Drawn:
        """Return the stacks and the return of the steps in the slots [B]."""
        later, reward, bootstrap = step, np.zeros(len(step), np.float32), np.ones(len(step), np.float32)
        for _ in range(self._n_step):
            reward += bootstrap * self._reward[later]  # 0 in the slot of a last frame
            following = self._after[later]
            bootstrap[following != later] *= self._discount
            bootstrap[self._terminated[later]] = 0.0
            later = following
        parts = (self._stacked(step), self._stacked(later), reward, bootstrap)
        return Drawn(*(torch.from_numpy(part).to(self._device) for part in parts))

    def _stacked(self, frame: np.ndarray) -> np.ndarray:
        stack = [frame]
        for _ in range(self._stack - 1):
            stack.insert(0, self._before[stack[0]])
        return np.stack(stack, 1)

    def _write(self, name: str, slots: np.ndarray, rows: Tensor) -> None:
        column = self._columns[name]
        if column.is_cuda:
            column[torch.from_numpy(slots).to(column.device)] = rows.to(column.device)
        else:
            column.numpy()[slots] = rows.numpy()  # whole rows; torch would copy element by element

    def _index(self, order: np.ndarray) -> None:
        """Make the lists that are drawn from; all in order of arrival."""
        self._order = order[self._held[order]]
        self._demonstrations = self._order[self._protected[self._order]]
        self._any_online = self._order[self._online[self._order]]

    def _take(self, count: int) -> np.ndarray:
        """Return that many free slots."""
        if count > len(self._free):
            for slot in self._order[~self._protected[self._order]].tolist():
                self._forget(slot)
                if count <= len(self._free):
                    break
            self._index(self._order)
        if count > len(self._free):
            raise UserError(
                f"the replay memory is full: its {self._capacity_bytes / GIB:.2f} GiB hold {self.slots} frames. "
                f"{len(self._free)} are free, the next episode has {count}, and the rest belong to {len(self)} steps "
                "of demonstrations and interventions, which are never dropped.\n"
                "Raise the capacity: --learner.replay.capacity_gib"
            )
        taken, self._free = self._free[:count], self._free[count:]
        self._written = max(self._written, int(taken.max()) + 1)
        return taken

    def _forget(self, step: int) -> None:
        """Drop one step, and the frames that only it needed."""
        self._held[step] = False
        needed = {step}
        for links, reach in ((self._before, self._stack - 1), (self._after, self._n_step)):
            frame = step
            for _ in range(reach):
                frame = int(links[frame])
                needed.add(frame)  # a walk that has reached the end of the episode stays there
        freed = []
        for frame in sorted(needed):
            self._users[frame] -= 1
            if self._users[frame] == 0:
                freed.append(frame)
        self._free = np.concatenate((self._free, np.array(freed, np.int64)))
