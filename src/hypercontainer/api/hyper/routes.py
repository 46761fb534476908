"""Every call of the native API.  docs/api.md says the same for people; a test compares the two."""

from __future__ import annotations

from typing import Any

from hypercontainer.api.hyper import handlers_containers as containers
from hypercontainer.api.hyper import handlers_images as images
from hypercontainer.api.hyper import handlers_system as system
from hypercontainer.api.hyper import messages as m
from hypercontainer.api.hyper.routing import FRAMES, LINES, TAR, Route
from hypercontainer.types import answers as a
from hypercontainer.types.spec import ContainerSpec, ExecSpec

SYSTEM = (
    Route("GET", "/v1/ping", system.ping, answer=m.Ping),
    Route("GET", "/v1/version", system.version, answer=dict[str, str]),
    Route("GET", "/v1/info", system.info, answer=dict[str, Any]),
    Route("GET", "/v1/doctor", system.doctor, answer=m.CheckList),
    Route("GET", "/v1/events", system.events, query=m.EventsQuery, answer=a.Event, gives=LINES),
    Route("GET", "/v1/system/df", system.disk_usage, answer=dict[str, Any]),
    Route("POST", "/v1/system/prune", system.prune, body=m.PruneBody, answer=a.Pruned),
    Route("POST", "/v1/system/shutdown", system.shutdown, body=m.ShutdownBody, status=202),
    Route("GET", "/v1/kernels", system.kernels, answer=m.KernelList),
)

IMAGES = (
    Route("GET", "/v1/images", images.list_images, query=m.FiltersQuery, answer=m.ImageList),
    Route("GET", "/v1/images/inspect", images.inspect, query=m.RefQuery, answer=a.ImageInspect),
    Route("GET", "/v1/images/history", images.history, query=m.RefQuery, answer=m.History),
    Route("POST", "/v1/images/pull", images.pull, body=m.PullBody, answer=a.ImageSummary, gives=LINES),
    Route("POST", "/v1/images/push", images.push, body=m.PushBody, answer=m.Pushed, gives=LINES),
    Route("POST", "/v1/images/load", images.load, takes=TAR, answer=m.ImageList, gives=LINES),
    Route("GET", "/v1/images/save", images.save, query=m.SaveQuery, gives=TAR),
    Route(
        "POST",
        "/v1/images/import",
        images.import_,
        query=m.ImportQuery,
        takes=TAR,
        answer=a.ImageSummary,
        gives=LINES,
    ),
    Route("POST", "/v1/images/tag", images.tag, body=m.TagBody, status=204),
    Route("DELETE", "/v1/images", images.remove, query=m.RemoveImageQuery, answer=m.RemovedList),
    Route("POST", "/v1/auth", images.authenticate, body=m.AuthBody, answer=m.AuthAnswer),
)

_ONE = "/v1/containers/ID"

CONTAINERS = (
    Route("POST", "/v1/containers", containers.create, body=ContainerSpec, answer=a.Created, status=201),
    Route("GET", "/v1/containers", containers.list_containers, query=m.ListQuery, answer=m.ContainerList),
    Route("GET", _ONE, containers.inspect, answer=a.Inspect),
    Route("POST", f"{_ONE}/start", containers.start, status=204),
    Route("POST", f"{_ONE}/stop", containers.stop, body=m.StopBody, status=204),
    Route("POST", f"{_ONE}/restart", containers.restart, body=m.RestartBody, status=204),
    Route("POST", f"{_ONE}/kill", containers.kill, body=m.KillBody, status=204),
    Route("POST", f"{_ONE}/pause", containers.pause, status=204),
    Route("POST", f"{_ONE}/unpause", containers.unpause, status=204),
    Route("POST", f"{_ONE}/rename", containers.rename, body=m.RenameBody, status=204),
    Route("POST", f"{_ONE}/resize", containers.resize, body=m.ResizeBody, status=204),
    Route("GET", f"{_ONE}/wait", containers.wait, query=m.WaitQuery, answer=a.Exit),
    Route("DELETE", _ONE, containers.remove, query=m.ForceQuery, status=204),
    Route("GET", f"{_ONE}/logs", containers.logs, query=m.LogsQuery, gives=FRAMES),
    Route("GET", f"{_ONE}/top", containers.top, answer=m.ProcessList),
    Route("GET", f"{_ONE}/stats", containers.stats, query=m.StatsQuery, answer=a.Sample, gives=LINES),
    Route("POST", f"{_ONE}/attach", containers.attach, query=m.AttachQuery, gives=FRAMES, upgrade=True),
    Route("POST", "/v1/run", containers.run, body=ContainerSpec, gives=FRAMES, upgrade=True),
    Route("POST", f"{_ONE}/exec", containers.exec_create, body=ExecSpec, answer=m.ExecCreated, status=201),
    Route("POST", "/v1/execs/ID/start", containers.exec_start, gives=FRAMES, status=204, upgrade=True),
    Route("POST", "/v1/execs/ID/resize", containers.exec_resize, body=m.ResizeBody, status=204),
    Route("GET", "/v1/execs/ID", containers.exec_inspect, answer=a.ExecState),
)

ROUTES = SYSTEM + IMAGES + CONTAINERS
