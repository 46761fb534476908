"""When a container is started again after its end, and how long that waits.

Docker's rules: a policy, a limit on retries for on-failure, and a delay that doubles from 100 ms to a minute; a
run of ten seconds or more counts as a success and the delay begins anew.  Kubernetes' delays: none at first, then
10 s, doubled up to five minutes; they begin anew after a run of ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypercontainer.engine import times
from hypercontainer.engine.state import ContainerRecord


@dataclass(frozen=True)
class Delays:
    immediate: bool  # the first restart
    first_s: float
    most_s: float
    long_run_s: float


DELAYS = {"docker": Delays(False, 0.1, 60.0, 10.0), "kubernetes": Delays(True, 10.0, 300.0, 600.0)}


def wanted(record: ContainerRecord) -> bool:
    """Whether the policy starts this container again after the end that ``record`` tells of."""
    policy = record.spec.restart
    if record.stopped_by_user or record.spec.auto_remove:
        return False
    if policy.name in ("always", "unless-stopped"):
        return True
    if policy.name == "on-failure" and record.exit_status != 0:
        return policy.maximum_retries == 0 or record.restart_count < policy.maximum_retries
    return False


def wanted_at_boot(record: ContainerRecord) -> bool:
    """Whether a hyperd that finds the container without its VM starts it."""
    if record.run == 0:
        return False
    return record.spec.restart.name == "always" or wanted(record)


class Backoff:
    def __init__(self) -> None:
        self._restarts = 0

    def next_delay_s(self, record: ContainerRecord) -> float:
        delays = DELAYS.get(record.spec.restart.backoff, DELAYS["docker"])
        if record.started and record.finished:
            ran_s = (times.to_ns(record.finished) - times.to_ns(record.started)) / 1e9
            if ran_s >= delays.long_run_s:
                self._restarts = 0
        step = self._restarts - delays.immediate
        self._restarts += 1
        return 0.0 if step < 0 else min(delays.most_s, delays.first_s * 2 ** min(step, 20))
