"""A container's processes, whom Docker asks the host's ps for, and hyperd the guest."""

from __future__ import annotations

from datetime import datetime

from hypercontainer.surfaces.docker import ps
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Reply


async def top(call: Call) -> Reply:
    options = call.query.text("ps_args") or "-ef"
    ps.columns(options)  # before the guest is asked
    container = await call.container()
    processes = await container.top()
    memory_bytes = (await container.inspect()).vm.memory_mib << 20
    titles, rows = ps.table(processes, options, ps.Around(datetime.now().astimezone(), memory_bytes))
    return found({"Titles": titles, "Processes": rows})
