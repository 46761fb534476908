"""When a container is started again after its end, and how long that waits.

Docker's rules: a policy, a limit on retries for on-failure, and a delay that doubles from 100 ms to a minute; a
run of ten seconds or more counts as a success and the delay begins anew.
"""

from __future__ import annotations

from hypercontainer.engine import times
from hypercontainer.engine.state import ContainerRecord

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 60.0
LONG_RUN_S = 10.0


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
        self._delay_s = FIRST_DELAY_S

    def next_delay_s(self, record: ContainerRecord) -> float:
        if record.started and record.finished:
            ran_s = (times.to_ns(record.finished) - times.to_ns(record.started)) / 1e9
            if ran_s >= LONG_RUN_S:
                self._delay_s = FIRST_DELAY_S
        delay_s = self._delay_s
        self._delay_s = min(MAX_DELAY_S, delay_s * 2)
        return delay_s
