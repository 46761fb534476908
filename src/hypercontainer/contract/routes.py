"""Every call of the native API, once, as data.  docs/api.md says the same for people; a test compares the two.

A call's name is "<collection>.<method>".  Server, client, command line and SDK speak of calls by these names only.
What a call is done by stands in ``does``: a method of a collection, or, where the path has an ID, of the object that
the collection holds under it.  It gets the fields of the query and of the body as keyword arguments; a body that is
no ``calls.Request`` (a specification) is its argument ``spec``.

Types are named, and found in ``contract.calls``, ``contract.answers`` and ``contract.spec``: this module imports
nothing, because the command line loads it at every start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "1"
JSON, LINES, FRAMES, TAR, BYTES = (
    "application/json",
    "application/x-ndjson",
    "application/vnd.hyper.frames",
    "application/x-tar",
    "application/octet-stream",
)
PROTOCOL = "hyper-stream"  # of a connection that goes on as frames
CREDENTIALS_HEADER = "X-Hyper-Credentials"


class Route:
    """``path``: ID stands for one segment.  ``answer`` is the type of the JSON body, of each line, or "".

    ``takes``, ``gives``: media types of the bodies.  ``tells``: headers of the answer, with what they say.
    ``progress``: the lines tell how far the work is, and ``answer`` is that of its result; ``silent``: of work that
    has nothing to tell before its end.  ``credentials``: it heeds the header with them; the method gets them, and who
    asks.  ``upgrade``: the connection may go on as frames.  ``id_as``: the ID is an argument of the collection's own
    method.  ``also_of_one``: the ID may be that of a pod that a container has to itself.
    """

    __slots__ = (
        "also_of_one",
        "answer",
        "body",
        "credentials",
        "does",
        "gives",
        "id_as",
        "method",
        "name",
        "path",
        "progress",
        "query",
        "silent",
        "status",
        "summary",
        "takes",
        "tells",
        "upgrade",
    )

    def __init__(
        self,
        name: str,
        method: str,
        path: str,
        summary: str,
        *,
        does: str = "",
        query: str = "Nothing",
        body: str = "Nothing",
        answer: str = "",
        status: int = 200,
        takes: str = JSON,
        gives: str = JSON,
        tells: Mapping[str, str] | None = None,
        progress: bool = False,
        silent: bool = False,
        credentials: bool = False,
        upgrade: bool = False,
        id_as: str = "",
        also_of_one: bool = False,
    ) -> None:
        self.name = name
        self.method = method
        self.path = f"/v{VERSION}{path}"
        self.summary = summary
        self.does = does or name
        self.query = query
        self.body = body
        self.answer = answer
        self.status = status
        self.takes = takes
        self.gives = gives
        self.tells: Mapping[str, str] = tells or {}
        self.progress = progress
        self.silent = silent
        self.credentials = credentials
        self.upgrade = upgrade
        self.id_as = id_as
        self.also_of_one = also_of_one

    @property
    def segments(self) -> list[str]:
        return self.path.split("/")

    def path_of(self, identifier: str) -> str:
        """``identifier`` in the place of ID, escaped already."""
        return self.path.replace("/ID", f"/{identifier}")

    def words(self, identifier: str) -> str:
        """As a user of the API makes the call: "POST /v1/containers/web/start"."""
        return f"{self.method} {self.path_of(identifier or 'ID')}"


SYSTEM = (
    Route("system.ping", "GET", "/ping", "Whether hyperd serves.", answer="Ping"),
    Route("system.version", "GET", "/version", "Versions of all that takes part.", answer="Versions"),
    Route("system.info", "GET", "/info", "What hyperd is, has and may use.", answer="Facts"),
    Route("system.doctor", "GET", "/doctor", "Checks of the host, with remedies.", answer="CheckList"),
    Route(
        *("system.events", "GET", "/events", "What happens, as it happens."),
        query="EventsQuery",
        answer="Event",
        gives=LINES,
    ),
    Route("system.disk_usage", "GET", "/system/df", "What takes how much disk.", answer="Facts"),
    Route(
        *("system.prune", "POST", "/system/prune", "Removes what is not used."),
        body="PruneBody",
        answer="SystemPruned",
    ),
    Route(
        *("system.shutdown", "POST", "/system/shutdown"),
        "Ends hyperd; containers live on unless told otherwise.",
        body="ShutdownBody",
        status=202,
    ),
    Route("system.kernels", "GET", "/kernels", "Kernels that VMs may boot.", answer="KernelList"),
    Route("system.openapi", "GET", "/openapi.json", "This description.", answer="Facts"),
)

IMAGES = (
    Route("images.find", "GET", "/images", "Images in the store.", query="FiltersQuery", answer="ImageList"),
    Route(
        *("images.inspect", "GET", "/images/inspect", "One image, with its configuration."),
        query="RefQuery",
        answer="ImageInspect",
    ),
    Route(
        *("images.history", "GET", "/images/history", "How an image was made, newest step first."),
        query="RefQuery",
        answer="History",
    ),
    Route(
        *("images.pull", "POST", "/images/pull", "Fetches an image from its registry."),
        body="PullBody",
        answer="ImageSummary",
        gives=LINES,
        progress=True,
    ),
    Route(
        *("images.push", "POST", "/images/push", "Brings an image to its registry."),
        body="PushBody",
        answer="Pushed",
        gives=LINES,
        progress=True,
    ),
    Route(
        *("images.load", "POST", "/images/load", "Takes images from an archive."),
        takes=TAR,
        answer="ImageList",
        gives=LINES,
        progress=True,
    ),
    Route("images.save", "GET", "/images/save", "Images as an archive.", query="SaveQuery", gives=TAR),
    Route(
        *("images.import", "POST", "/images/import", "Makes an image of a tar of files."),
        does="images.import_",
        query="ImportQuery",
        takes=TAR,
        answer="ImageSummary",
        gives=LINES,
        progress=True,
        silent=True,
    ),
    Route("images.tag", "POST", "/images/tag", "Names an image once more.", body="TagBody", status=204),
    Route(
        *("images.remove", "DELETE", "/images", "Removes a name of an image, with the last one the image."),
        query="RemoveImageQuery",
        answer="RemovedList",
    ),
    Route(
        *("images.authenticate", "POST", "/auth", "Asks a registry whether it takes these credentials."),
        body="AuthBody",
        answer="AuthAnswer",
    ),
)

_ONE = "/containers/ID"

CONTAINERS = (
    Route(
        *("containers.create", "POST", "/containers", "Creates a container, alone or in a pod."),
        body="ContainerSpec",
        answer="Created",
        status=201,
        credentials=True,
    ),
    Route(
        *("containers.find", "GET", "/containers", "Containers, newest first."),
        query="ListQuery",
        answer="ContainerList",
    ),
    Route("containers.inspect", "GET", _ONE, "Everything about a container.", answer="Inspect"),
    Route(
        *("containers.start", "POST", f"{_ONE}/start", "Starts a container, if it does not run."), status=204
    ),
    Route(
        *("containers.stop", "POST", f"{_ONE}/stop"),
        "Asks a container to end, and ends it if it does not.",
        body="StopBody",
        status=204,
    ),
    Route(
        *("containers.restart", "POST", f"{_ONE}/restart", "Stops a container and starts it."),
        body="RestartBody",
        status=204,
    ),
    Route(
        *("containers.kill", "POST", f"{_ONE}/kill", "Sends a signal to a container's first process."),
        body="KillBody",
        status=204,
    ),
    Route("containers.pause", "POST", f"{_ONE}/pause", "Makes a container stand still.", status=204),
    Route("containers.unpause", "POST", f"{_ONE}/unpause", "Lets a paused container go on.", status=204),
    Route(
        *("containers.rename", "POST", f"{_ONE}/rename", "Gives a container another name."),
        body="RenameBody",
        status=204,
    ),
    Route(
        *("containers.resize", "POST", f"{_ONE}/resize", "Tells a container's terminal its size."),
        body="ResizeBody",
        status=204,
    ),
    Route(
        *("containers.wait", "GET", f"{_ONE}/wait", "Answers when a container has ended."),
        query="WaitQuery",
        answer="Exit",
    ),
    Route("containers.remove", "DELETE", _ONE, "Removes a container.", query="ForceQuery", status=204),
    Route(
        *("containers.logs", "GET", f"{_ONE}/logs", "What a container wrote."),
        query="LogsQuery",
        gives=FRAMES,
    ),
    Route(
        *("containers.read_file", "GET", f"{_ONE}/files", "A file of a container that runs."),
        query="FileQuery",
        gives=BYTES,
        tells={
            "Hyper-File-Mode": "Octal.",
            "Hyper-File-Uid": "Its owner.",
            "Hyper-File-Gid": "Its group.",
            "Hyper-File-Size": "In bytes, when it was opened; 0 for what the kernel makes up.",
        },
    ),
    Route(
        *("containers.write_file", "PUT", f"{_ONE}/files"),
        "Makes or replaces a file of a container that runs.",
        query="WriteFileQuery",
        takes=BYTES,
        status=204,
    ),
    Route("containers.top", "GET", f"{_ONE}/top", "Processes of a container.", answer="ProcessList"),
    Route(
        *("containers.stats", "GET", f"{_ONE}/stats", "What a container uses, once or every second."),
        query="StatsQuery",
        answer="Sample",
        gives=LINES,
    ),
    Route(
        *("containers.attach", "POST", f"{_ONE}/attach"),
        "The standard streams of a container's first process.",
        query="AttachQuery",
        gives=FRAMES,
        upgrade=True,
    ),
    Route(
        *("containers.run", "POST", "/run", "Creates a container, attaches to it and starts it."),
        body="ContainerSpec",
        gives=FRAMES,
        upgrade=True,
        credentials=True,
    ),
    Route(
        *("containers.exec_create", "POST", f"{_ONE}/exec", "Prepares one more process in a container."),
        body="ExecSpec",
        answer="ExecCreated",
        status=201,
    ),
    Route(
        *("containers.exec_start", "POST", "/execs/ID/start", "Starts a prepared process."),
        does="execs.start",
        gives=FRAMES,
        status=204,
        upgrade=True,
    ),
    Route(
        *("containers.exec_resize", "POST", "/execs/ID/resize", "Tells a process's terminal its size."),
        does="execs.resize",
        body="ResizeBody",
        status=204,
    ),
    Route(
        *("containers.exec_inspect", "GET", "/execs/ID", "How a process does."),
        does="execs.inspect",
        answer="ExecState",
    ),
)

_POD = "/pods/ID"

PODS = (
    Route(
        *("pods.create", "POST", "/pods", "Creates a pod with its containers, and may start it."),
        query="CreatePodQuery",
        body="PodSpec",
        answer="PodCreated",
        status=201,
        credentials=True,
    ),
    Route("pods.find", "GET", "/pods", "Pods, newest first.", query="FiltersQuery", answer="PodList"),
    Route("pods.inspect", "GET", _POD, "Everything about a pod.", answer="PodInspect"),
    Route(
        *("pods.remove", "DELETE", _POD, "Removes a pod with its containers."), query="ForceQuery", status=204
    ),
    Route("pods.start", "POST", f"{_POD}/start", "Starts a pod; answers when it runs.", status=204),
    Route(
        *("pods.stop", "POST", f"{_POD}/stop", "Asks a pod's containers to end, and ends it."),
        body="RestartBody",
        status=204,
    ),
    Route(
        *("pods.restart", "POST", f"{_POD}/restart", "Stops a pod and starts it."),
        body="RestartBody",
        status=204,
    ),
    Route(
        *("pods.kill", "POST", f"{_POD}/kill", "Sends a signal to the first process of each container."),
        body="KillBody",
        status=204,
    ),
    Route("pods.pause", "POST", f"{_POD}/pause", "Makes a pod's VM stand still.", status=204),
    Route("pods.unpause", "POST", f"{_POD}/unpause", "Lets a paused pod go on.", status=204),
    Route("pods.wait", "GET", f"{_POD}/wait", "Answers when a pod has ended for good.", answer="Exit"),
    Route("pods.top", "GET", f"{_POD}/top", "Processes of a pod's containers.", answer="PodProcessList"),
    Route(
        *("pods.stats", "GET", f"{_POD}/stats", "What each container uses, once or every second."),
        query="StatsQuery",
        answer="PodSamples",
        gives=LINES,
    ),
    Route(
        *("pods.logs", "GET", f"{_POD}/logs", "What a pod's containers wrote."),
        query="LogsQuery",
        answer="PodLogLine",
        gives=LINES,
    ),
    Route(
        *("pods.ports", "GET", f"{_POD}/ports", "Published ports of a pod."),
        answer="PortList",
        also_of_one=True,
    ),
    Route(
        *("pods.add_ports", "POST", f"{_POD}/ports", "Publishes ports, all or none."),
        body="PortsBody",
        answer="PortList",
        also_of_one=True,
    ),
    Route(
        *("pods.remove_ports", "DELETE", f"{_POD}/ports", "Takes published ports back, all or none."),
        body="PortsBody",
        status=204,
        also_of_one=True,
    ),
    Route(
        *("pods.exec_create", "POST", f"{_POD}/exec"),
        "Prepares a process in the VM, outside of any container.",
        body="ExecSpec",
        answer="ExecCreated",
        status=201,
        also_of_one=True,
    ),
)

VOLUMES = (
    Route(
        *("volumes.create", "POST", "/volumes", "Creates a volume."),
        body="VolumeBody",
        answer="VolumeInfo",
        status=201,
    ),
    Route("volumes.find", "GET", "/volumes", "Volumes.", query="FiltersQuery", answer="VolumeList"),
    Route("volumes.inspect", "GET", "/volumes/ID", "One volume.", id_as="name", answer="VolumeInfo"),
    Route(
        *("volumes.remove", "DELETE", "/volumes/ID", "Removes a volume."),
        id_as="name",
        query="ForceQuery",
        status=204,
    ),
    Route(
        *("volumes.prune", "POST", "/volumes/prune", "Removes volumes that no pod uses."),
        answer="VolumesPruned",
    ),
)

MANIFESTS = (
    Route(
        *("manifests.play", "POST", "/manifests/play", "Makes what a Kubernetes manifest describes."),
        body="PlayBody",
        answer="PlayedList",
        gives=LINES,
        progress=True,
        credentials=True,
    ),
    Route(
        *("manifests.down", "POST", "/manifests/down", "Removes what was made of a manifest."),
        body="DownBody",
        answer="PlayedList",
        gives=LINES,
        progress=True,
        silent=True,
    ),
    Route(
        *("manifests.generate", "POST", "/manifests/generate", "Writes a manifest of what is there."),
        body="GenerateBody",
        answer="Manifest",
    ),
)

ROUTES = {route.name: route for route in (*SYSTEM, *IMAGES, *CONTAINERS, *PODS, *VOLUMES, *MANIFESTS)}
