"""How long a restart waits: by Docker's rules, and by Kubernetes'."""

from __future__ import annotations

import pytest

from hypercontainer.contract.answers import Effective
from hypercontainer.contract.spec import ContainerSpec, RestartPolicy
from hypercontainer.engine.container.restart import Backoff
from hypercontainer.engine.state import ContainerRecord

DOCKER = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
KUBERNETES = [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
EFFECTIVE = Effective(
    env=(), entrypoint=(), command=(), user="", working_dir="", stop_signal="SIGTERM", hostname=""
)


def record(backoff: str, ran_s: int) -> ContainerRecord:
    spec = ContainerSpec(image="i", restart=RestartPolicy("always", backoff=backoff))
    return ContainerRecord(
        id="c",
        name="c",
        pod="p",
        spec=spec,
        image="i",
        image_id="i",
        diff_ids=(),
        effective=EFFECTIVE,
        created="2026-01-01T00:00:00Z",
        started="2026-01-01T00:00:00Z",
        finished=f"2026-01-01T00:{ran_s // 60:02}:{ran_s % 60:02}Z",
    )


@pytest.mark.parametrize(
    ("kind", "delays_s", "long_run_s"), [("docker", DOCKER, 10), ("kubernetes", KUBERNETES, 600)]
)
def test_delays_double_until_a_long_run(kind: str, delays_s: list[float], long_run_s: int) -> None:
    backoff = Backoff()
    assert [backoff.next_delay_s(record(kind, long_run_s - 1)) for _ in delays_s] == pytest.approx(delays_s)
    assert backoff.next_delay_s(record(kind, long_run_s)) == delays_s[0]
    assert backoff.next_delay_s(record(kind, long_run_s - 1)) == delays_s[1]
