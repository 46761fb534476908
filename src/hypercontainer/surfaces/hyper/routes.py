"""Every call of the native API.  docs/api.md says the same for people; a test compares the two."""

from __future__ import annotations

from typing import Any

from hypercontainer.contract import answers as a
from hypercontainer.contract import calls as m
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PodSpec
from hypercontainer.surfaces.hyper import handlers_containers as containers
from hypercontainer.surfaces.hyper import handlers_images as images
from hypercontainer.surfaces.hyper import handlers_manifests as manifests
from hypercontainer.surfaces.hyper import handlers_pods as pods
from hypercontainer.surfaces.hyper import handlers_system as system
from hypercontainer.surfaces.hyper import handlers_volumes as volumes
from hypercontainer.surfaces.hyper.routing import BYTES, FRAMES, LINES, TAR, Route

SYSTEM = (
    Route("GET", "/v1/ping", system.ping, "Whether hyperd serves.", answer=m.Ping),
    Route("GET", "/v1/version", system.version, "Versions of all that takes part.", answer=dict[str, str]),
    Route("GET", "/v1/info", system.info, "What hyperd is, has and may use.", answer=dict[str, Any]),
    Route("GET", "/v1/doctor", system.doctor, "Checks of the host, with remedies.", answer=m.CheckList),
    Route(
        *("GET", "/v1/events", system.events, "What happens, as it happens."),
        query=m.EventsQuery,
        answer=a.Event,
        gives=LINES,
    ),
    Route("GET", "/v1/system/df", system.disk_usage, "What takes how much disk.", answer=dict[str, Any]),
    Route(
        *("POST", "/v1/system/prune", system.prune, "Removes what is not used."),
        body=m.PruneBody,
        answer=m.SystemPruned,
    ),
    Route(
        *(
            "POST",
            "/v1/system/shutdown",
            system.shutdown,
            "Ends hyperd; containers live on unless told otherwise.",
        ),
        body=m.ShutdownBody,
        status=202,
    ),
    Route("GET", "/v1/kernels", system.kernels, "Kernels that VMs may boot.", answer=m.KernelList),
    Route("GET", "/v1/openapi.json", system.openapi, "This description.", answer=dict[str, Any]),
)

IMAGES = (
    Route("GET", "/v1/images", images.find, "Images in the store.", query=m.FiltersQuery, answer=m.ImageList),
    Route(
        *("GET", "/v1/images/inspect", images.inspect, "One image, with its configuration."),
        query=m.RefQuery,
        answer=a.ImageInspect,
    ),
    Route(
        *("GET", "/v1/images/history", images.history, "How an image was made, newest step first."),
        query=m.RefQuery,
        answer=m.History,
    ),
    Route(
        *("POST", "/v1/images/pull", images.pull, "Fetches an image from its registry."),
        body=m.PullBody,
        answer=a.ImageSummary,
        gives=LINES,
        progress=True,
    ),
    Route(
        *("POST", "/v1/images/push", images.push, "Brings an image to its registry."),
        body=m.PushBody,
        answer=m.Pushed,
        gives=LINES,
        progress=True,
    ),
    Route(
        *("POST", "/v1/images/load", images.load, "Takes images from an archive."),
        takes=TAR,
        answer=m.ImageList,
        gives=LINES,
        progress=True,
    ),
    Route("GET", "/v1/images/save", images.save, "Images as an archive.", query=m.SaveQuery, gives=TAR),
    Route(
        *("POST", "/v1/images/import", images.import_, "Makes an image of a tar of files."),
        query=m.ImportQuery,
        takes=TAR,
        answer=a.ImageSummary,
        gives=LINES,
        progress=True,
    ),
    Route("POST", "/v1/images/tag", images.tag, "Names an image once more.", body=m.TagBody, status=204),
    Route(
        *("DELETE", "/v1/images", images.remove, "Removes a name of an image, with the last one the image."),
        query=m.RemoveImageQuery,
        answer=m.RemovedList,
    ),
    Route(
        *("POST", "/v1/auth", images.authenticate, "Asks a registry whether it takes these credentials."),
        body=m.AuthBody,
        answer=m.AuthAnswer,
    ),
)

_ONE = "/v1/containers/ID"

CONTAINERS = (
    Route(
        *("POST", "/v1/containers", containers.create, "Creates a container, alone or in a pod."),
        body=ContainerSpec,
        answer=a.Created,
        status=201,
        credentials=True,
    ),
    Route(
        *("GET", "/v1/containers", containers.find, "Containers, newest first."),
        query=m.ListQuery,
        answer=m.ContainerList,
    ),
    Route("GET", _ONE, containers.inspect, "Everything about a container.", answer=a.Inspect),
    Route("POST", f"{_ONE}/start", containers.start, "Starts a container, if it does not run.", status=204),
    Route(
        *("POST", f"{_ONE}/stop", containers.stop, "Asks a container to end, and ends it if it does not."),
        body=m.StopBody,
        status=204,
    ),
    Route(
        *("POST", f"{_ONE}/restart", containers.restart, "Stops a container and starts it."),
        body=m.RestartBody,
        status=204,
    ),
    Route(
        *("POST", f"{_ONE}/kill", containers.kill, "Sends a signal to a container's first process."),
        body=m.KillBody,
        status=204,
    ),
    Route("POST", f"{_ONE}/pause", containers.pause, "Makes a container stand still.", status=204),
    Route("POST", f"{_ONE}/unpause", containers.unpause, "Lets a paused container go on.", status=204),
    Route(
        *("POST", f"{_ONE}/rename", containers.rename, "Gives a container another name."),
        body=m.RenameBody,
        status=204,
    ),
    Route(
        *("POST", f"{_ONE}/resize", containers.resize, "Tells a container's terminal its size."),
        body=m.ResizeBody,
        status=204,
    ),
    Route(
        *("GET", f"{_ONE}/wait", containers.wait, "Answers when a container has ended."),
        query=m.WaitQuery,
        answer=a.Exit,
    ),
    Route("DELETE", _ONE, containers.remove, "Removes a container.", query=m.ForceQuery, status=204),
    Route(
        *("GET", f"{_ONE}/logs", containers.logs, "What a container wrote."), query=m.LogsQuery, gives=FRAMES
    ),
    Route(
        *("GET", f"{_ONE}/files", containers.read_file, "A file of a container that runs."),
        query=m.FileQuery,
        gives=BYTES,
        tells=containers.FILE_FACTS,
    ),
    Route(
        *(
            "PUT",
            f"{_ONE}/files",
            containers.write_file,
            "Makes or replaces a file of a container that runs.",
        ),
        query=m.WriteFileQuery,
        takes=BYTES,
        status=204,
    ),
    Route("GET", f"{_ONE}/top", containers.top, "Processes of a container.", answer=m.ProcessList),
    Route(
        *("GET", f"{_ONE}/stats", containers.stats, "What a container uses, once or every second."),
        query=m.StatsQuery,
        answer=a.Sample,
        gives=LINES,
    ),
    Route(
        *(
            "POST",
            f"{_ONE}/attach",
            containers.attach,
            "The standard streams of a container's first process.",
        ),
        query=m.AttachQuery,
        gives=FRAMES,
        upgrade=True,
    ),
    Route(
        *("POST", "/v1/run", containers.run, "Creates a container, attaches to it and starts it."),
        body=ContainerSpec,
        gives=FRAMES,
        upgrade=True,
        credentials=True,
    ),
    Route(
        *("POST", f"{_ONE}/exec", containers.exec_create, "Prepares one more process in a container."),
        body=ExecSpec,
        answer=m.ExecCreated,
        status=201,
    ),
    Route(
        *("POST", "/v1/execs/ID/start", containers.exec_start, "Starts a prepared process."),
        gives=FRAMES,
        status=204,
        upgrade=True,
    ),
    Route(
        *("POST", "/v1/execs/ID/resize", containers.exec_resize, "Tells a process's terminal its size."),
        body=m.ResizeBody,
        status=204,
    ),
    Route("GET", "/v1/execs/ID", containers.exec_inspect, "How a process does.", answer=a.ExecState),
)

_POD = "/v1/pods/ID"

PODS = (
    Route(
        *("POST", "/v1/pods", pods.create, "Creates a pod with its containers, and may start it."),
        query=m.CreatePodQuery,
        body=PodSpec,
        answer=a.PodCreated,
        status=201,
        credentials=True,
    ),
    Route("GET", "/v1/pods", pods.find, "Pods, newest first.", query=m.FiltersQuery, answer=m.PodList),
    Route("GET", _POD, pods.inspect, "Everything about a pod.", answer=a.PodInspect),
    Route(
        *("DELETE", _POD, pods.remove, "Removes a pod with its containers."), query=m.ForceQuery, status=204
    ),
    Route("POST", f"{_POD}/start", pods.start, "Starts a pod; answers when it runs.", status=204),
    Route(
        *("POST", f"{_POD}/stop", pods.stop, "Asks a pod's containers to end, and ends it."),
        body=m.RestartBody,
        status=204,
    ),
    Route(
        *("POST", f"{_POD}/restart", pods.restart, "Stops a pod and starts it."),
        body=m.RestartBody,
        status=204,
    ),
    Route(
        *("POST", f"{_POD}/kill", pods.kill, "Sends a signal to the first process of each container."),
        body=m.KillBody,
        status=204,
    ),
    Route("POST", f"{_POD}/pause", pods.pause, "Makes a pod's VM stand still.", status=204),
    Route("POST", f"{_POD}/unpause", pods.unpause, "Lets a paused pod go on.", status=204),
    Route("GET", f"{_POD}/wait", pods.wait, "Answers when a pod has ended for good.", answer=a.Exit),
    Route("GET", f"{_POD}/top", pods.top, "Processes of a pod's containers.", answer=m.PodProcessList),
    Route(
        *("GET", f"{_POD}/stats", pods.stats, "What each container uses, once or every second."),
        query=m.StatsQuery,
        answer=m.PodSamples,
        gives=LINES,
    ),
    Route(
        *("GET", f"{_POD}/logs", pods.logs, "What a pod's containers wrote."),
        query=m.LogsQuery,
        answer=a.PodLogLine,
        gives=LINES,
    ),
    Route("GET", f"{_POD}/ports", pods.ports, "Published ports of a pod.", answer=m.PortList),
    Route(
        *("POST", f"{_POD}/ports", pods.add_ports, "Publishes ports, all or none."),
        body=m.PortsBody,
        answer=m.PortList,
    ),
    Route(
        *("DELETE", f"{_POD}/ports", pods.remove_ports, "Takes published ports back, all or none."),
        body=m.PortsBody,
        status=204,
    ),
    Route(
        *(
            "POST",
            f"{_POD}/exec",
            pods.exec_create,
            "Prepares a process in the VM, outside of any container.",
        ),
        body=ExecSpec,
        answer=m.ExecCreated,
        status=201,
    ),
)

VOLUMES = (
    Route(
        *("POST", "/v1/volumes", volumes.create, "Creates a volume."),
        body=m.VolumeBody,
        answer=a.VolumeInfo,
        status=201,
    ),
    Route("GET", "/v1/volumes", volumes.find, "Volumes.", query=m.FiltersQuery, answer=m.VolumeList),
    Route("GET", "/v1/volumes/ID", volumes.inspect, "One volume.", answer=a.VolumeInfo),
    Route("DELETE", "/v1/volumes/ID", volumes.remove, "Removes a volume.", query=m.ForceQuery, status=204),
    Route(
        *("POST", "/v1/volumes/prune", volumes.prune, "Removes volumes that no pod uses."),
        answer=m.VolumesPruned,
    ),
)

MANIFESTS = (
    Route(
        *("POST", "/v1/manifests/play", manifests.play, "Makes what a Kubernetes manifest describes."),
        body=m.PlayBody,
        answer=list[a.Played],
        gives=LINES,
        progress=True,
        credentials=True,
    ),
    Route(
        *("POST", "/v1/manifests/down", manifests.down, "Removes what was made of a manifest."),
        body=m.DownBody,
        answer=list[a.Played],
        gives=LINES,
        progress=True,
    ),
    Route(
        *("POST", "/v1/manifests/generate", manifests.generate, "Writes a manifest of what is there."),
        body=m.GenerateBody,
        answer=m.Manifest,
    ),
)

ROUTES = SYSTEM + IMAGES + CONTAINERS + PODS + VOLUMES + MANIFESTS
