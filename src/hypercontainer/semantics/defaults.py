"""What the configuration says where a user said nothing; pure.

Applied once, when a container is created, so that a later change of the file changes no container that is there.
"""

from __future__ import annotations

import msgspec

from hypercontainer.config import Config, Logging
from hypercontainer.contract.spec import ContainerSpec, LogConfig


def applied(spec: ContainerSpec, config: Config) -> ContainerSpec:
    """``spec`` with the configuration's log, name servers and patience; memory and CPUs are the pod's."""
    defaults = config.defaults
    return msgspec.structs.replace(
        spec,
        log=_log(spec.log, config.logging),
        dns=spec.dns or defaults.dns,
        dns_search=spec.dns_search or defaults.dns_search,
        stop_timeout_s=defaults.stop_timeout_s if spec.stop_timeout_s is None else spec.stop_timeout_s,
    )


def _log(wish: LogConfig, logging: Logging) -> LogConfig:
    return LogConfig(
        driver=wish.driver or logging.driver,
        max_size_bytes=wish.max_size_bytes or logging.max_size_bytes,
        max_files=wish.max_files or logging.max_files,
        syslog=wish.syslog,
    )
