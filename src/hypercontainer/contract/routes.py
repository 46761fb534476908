"""Every call of the native API, once, as data.  docs/api.md says the same for people; a test compares the two.

A call's name is "<collection>.<method>".  Server, client, command line and SDK speak of calls by these names only.
What a call is done by stands in ``does``: a method of a collection, or, where the path has an ID, of the object that
the collection holds under it.  It gets the fields of the query and of the body as keyword arguments; a body that is
no ``calls.Request`` (a specification) is its argument ``spec``.

Types are named, and found in ``contract.calls``, ``contract.answers`` and ``contract.spec``: this module imports
nothing, because the command line loads it at every start.  For the same reason the routes are text, of which a
command reads a line: as calls of a constructor they cost 3 % of `hyper version`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from hypercontainer.errors import Remedy

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

# name, method, path and what else is to be said (`Route`); below it the summary.
_TABLE = """
system.ping GET /ping answer=Ping
    Whether hyperd serves.
system.version GET /version answer=Versions
    Versions of all that takes part.
system.info GET /info answer=Facts
    What hyperd is, has and may use.
system.doctor GET /doctor answer=CheckList
    Checks of the host, with remedies.
system.events GET /events query=EventsQuery answer=Event gives=lines
    What happens, as it happens.
system.disk_usage GET /system/df answer=Facts
    What takes how much disk.
system.prune POST /system/prune body=PruneBody answer=SystemPruned
    Removes what is not used.
system.shutdown POST /system/shutdown body=ShutdownBody status=202
    Ends hyperd; containers live on unless told otherwise.
system.kernels GET /kernels answer=KernelList
    Kernels that VMs may boot.
system.openapi GET /openapi.json answer=Facts
    This description.

images.find GET /images query=FiltersQuery answer=ImageList
    Images in the store.
images.inspect GET /images/inspect query=RefQuery answer=ImageInspect
    One image, with its configuration.
images.history GET /images/history query=RefQuery answer=History
    How an image was made, newest step first.
images.pull POST /images/pull body=PullBody answer=ImageSummary progress
    Fetches an image from its registry.
images.push POST /images/push body=PushBody answer=Pushed progress
    Brings an image to its registry.
images.load POST /images/load query=LoadQuery takes=tar answer=ImageList progress
    Takes images from an archive, each under the names that it has there.
images.save GET /images/save query=SaveQuery gives=tar
    Images as an archive.
images.import POST /images/import does=images.import_ query=ImportQuery takes=tar answer=ImageSummary progress silent
    Makes an image of a tar of files.
images.build POST /builds does=builds.begin body=BuildSpec gives=frames credentials upgrade
    Makes an image, or an archive, of a Dockerfile and its context.
images.lend_agent POST /builds/ID/agent does=builds.lend query=LendQuery gives=frames upgrade
    What a build's steps say to an SSH agent, and what that answers.
images.tag POST /images/tag body=TagBody status=204
    Names an image once more.
images.remove DELETE /images query=RemoveImageQuery answer=RemovedList
    Removes a name of an image, with the last one the image.
images.authenticate POST /auth body=AuthBody answer=AuthAnswer
    Asks a registry whether it takes these credentials.

containers.create POST /containers body=ContainerSpec answer=Created status=201 credentials
    Creates a container, alone or in a pod.
containers.find GET /containers query=ListQuery answer=ContainerList
    Containers, newest first.
containers.inspect GET /containers/ID answer=Inspect
    Everything about a container.
containers.start POST /containers/ID/start status=204
    Starts a container, if it does not run.
containers.stop POST /containers/ID/stop body=StopBody status=204
    Asks a container to end, and ends it if it does not.
containers.restart POST /containers/ID/restart body=StopBody status=204
    Stops a container and starts it.
containers.kill POST /containers/ID/kill body=KillBody status=204
    Sends a signal to a container's first process.
containers.pause POST /containers/ID/pause status=204
    Makes a container stand still.
containers.unpause POST /containers/ID/unpause status=204
    Lets a paused container go on.
containers.rename POST /containers/ID/rename body=RenameBody status=204
    Gives a container another name.
containers.resize POST /containers/ID/resize body=ResizeBody status=204
    Tells a container's terminal its size.
containers.wait GET /containers/ID/wait query=WaitQuery answer=Exit
    Answers when a container has ended.
containers.remove DELETE /containers/ID query=RemoveQuery status=204
    Removes a container, and with volumes=true those of its volumes that nobody has named.
containers.logs GET /containers/ID/logs query=LogsQuery gives=frames
    What a container wrote.
containers.read_file GET /containers/ID/files query=FileQuery gives=bytes
    A file of a container that runs.
containers.write_file PUT /containers/ID/files query=WriteFileQuery takes=bytes pieces status=204
    Makes or replaces a file of a container that runs.
containers.stat_path GET /containers/ID/path query=PlaceQuery answer=PathFacts
    What is at a path of a container, whether or not it runs.
containers.pack GET /containers/ID/archive query=PackQuery gives=tar
    A file or a tree of a container, whether or not it runs, as an archive.
containers.unpack PUT /containers/ID/archive query=UnpackQuery takes=tar pieces status=204
    Lays an archive into a directory of a container, whether or not it runs.
containers.export GET /containers/ID/export gives=tar
    All files of a container, without what is mounted there, as an archive.
containers.changes GET /containers/ID/changes answer=ChangeList
    What a container has changed of its image.
containers.commit POST /commit body=CommitBody answer=ImageSummary
    Makes an image of a container.
containers.top GET /containers/ID/top answer=ProcessList
    Processes of a container.
containers.stats GET /containers/ID/stats query=StatsQuery answer=Sample gives=lines
    What a container uses, once or every second.
containers.attach POST /containers/ID/attach query=AttachQuery gives=frames upgrade
    The standard streams of a container's first process.
containers.run POST /run body=ContainerSpec gives=frames credentials upgrade
    Creates a container, attaches to it and starts it.
containers.exec_create POST /containers/ID/exec body=ExecSpec answer=ExecCreated status=201
    Prepares one more process in a container.
containers.exec_start POST /execs/ID/start does=execs.start gives=frames status=204 upgrade
    Starts a prepared process.
containers.exec_resize POST /execs/ID/resize does=execs.resize body=ResizeBody status=204
    Tells a process's terminal its size.
containers.exec_inspect GET /execs/ID does=execs.inspect answer=ExecState
    How a process does.

pods.create POST /pods query=CreatePodQuery body=PodSpec answer=PodCreated status=201 credentials
    Creates a pod with its containers, and may start it.
pods.find GET /pods query=FiltersQuery answer=PodList
    Pods, newest first.
pods.inspect GET /pods/ID answer=PodInspect
    Everything about a pod.
pods.remove DELETE /pods/ID query=ForceQuery status=204
    Removes a pod with its containers.
pods.start POST /pods/ID/start status=204
    Starts a pod; answers when it runs.
pods.stop POST /pods/ID/stop body=RestartBody status=204
    Asks a pod's containers to end, and ends it.
pods.restart POST /pods/ID/restart body=RestartBody status=204
    Stops a pod and starts it.
pods.kill POST /pods/ID/kill body=KillBody status=204
    Sends a signal to the first process of each container.
pods.pause POST /pods/ID/pause status=204
    Makes a pod's VM stand still.
pods.unpause POST /pods/ID/unpause status=204
    Lets a paused pod go on.
pods.wait GET /pods/ID/wait answer=Exit
    Answers when a pod has ended for good.
pods.top GET /pods/ID/top answer=PodProcessList
    Processes of a pod's containers.
pods.stats GET /pods/ID/stats query=StatsQuery answer=PodSamples gives=lines
    What each container uses, once or every second.
pods.logs GET /pods/ID/logs query=LogsQuery answer=PodLogLine gives=lines
    What a pod's containers wrote.
pods.ports GET /pods/ID/ports answer=PortList also_of_one
    Published ports of a pod.
pods.add_ports POST /pods/ID/ports body=PortsBody answer=PortList also_of_one
    Publishes ports, all or none.
pods.remove_ports DELETE /pods/ID/ports body=PortsBody status=204 also_of_one
    Takes published ports back, all or none.
pods.exec_create POST /pods/ID/exec body=ExecSpec answer=ExecCreated status=201 also_of_one
    Prepares a process in the VM, outside of any container.

volumes.create POST /volumes body=VolumeBody answer=VolumeInfo status=201
    Creates a volume.
volumes.find GET /volumes query=FiltersQuery answer=VolumeList
    Volumes.
volumes.inspect GET /volumes/ID id_as=name answer=VolumeInfo
    One volume.
volumes.convert POST /volumes/ID/convert id_as=name body=ConvertVolumeBody answer=VolumeInfo
    Makes a volume that nobody uses one of the other kind, with what is in it.
volumes.remove DELETE /volumes/ID id_as=name query=ForceQuery status=204
    Removes a volume.
volumes.resize POST /volumes/ID/resize id_as=name body=ResizeVolumeBody answer=VolumeInfo
    Makes a volume larger, also while it is in use.
volumes.stat_path GET /volumes/ID/path id_as=name query=PlaceQuery answer=PathFacts
    What is at a path of a volume, whether or not it is in use.
volumes.pack GET /volumes/ID/archive id_as=name query=PackQuery gives=tar
    A file or a tree of a volume, whether or not it is in use, as an archive.
volumes.unpack PUT /volumes/ID/archive id_as=name query=UnpackVolumeQuery takes=tar pieces status=204
    Lays an archive into a directory of a volume, whether or not it is in use.
volumes.snapshot POST /volumes/ID/snapshots id_as=name body=SnapshotBody answer=SnapshotInfo status=201
    Keeps what a volume is now, also while it is in use.
volumes.snapshots GET /volumes/ID/snapshots id_as=name answer=SnapshotList
    Snapshots of a volume, the oldest first.
volumes.remove_snapshot DELETE /volumes/ID/snapshots id_as=name query=SnapshotQuery status=204
    Removes a snapshot of a volume.
volumes.restore POST /volumes/ID/restore id_as=name body=RestoreBody answer=VolumeInfo
    Makes a volume again what it was at a snapshot, while it is not in use.
volumes.clone POST /volumes/ID/clone id_as=name body=CloneBody answer=VolumeInfo status=201
    Makes a volume of what another is now, or was at a snapshot.
volumes.prune POST /volumes/prune body=PruneVolumesBody answer=VolumesPruned
    Removes volumes that no pod uses: those that nobody has named, or all.

networks.create POST /networks body=NetworkSpec answer=NetworkInfo status=201
    Creates a network.
networks.find GET /networks query=FiltersQuery answer=NetworkList
    Networks.
networks.inspect GET /networks/ID id_as=name answer=NetworkInfo
    One network, with the pods in it.
networks.remove DELETE /networks/ID id_as=name query=ForceQuery status=204
    Removes a network.
networks.prune POST /networks/prune body=PruneNetworksBody answer=NetworksPruned
    Removes networks that no pod is in.
networks.connect POST /networks/ID/connect id_as=name body=ConnectBody status=204
    Puts a container's pod into a network, also while it runs.
networks.disconnect POST /networks/ID/disconnect id_as=name body=DisconnectBody status=204
    Takes a container's pod out of a network, also while it runs.

policies.create POST /policies body=PolicySpec answer=PolicyInfo status=201
    Creates a network policy, by whose name pods have it.
policies.update PUT /policies body=PolicySpec answer=PolicyInfo
    Changes a network policy, at once for pods that run.
policies.find GET /policies answer=PolicyList
    Network policies.
policies.inspect GET /policies/ID id_as=name answer=PolicyInfo
    One network policy, with the pods that have it.
policies.remove DELETE /policies/ID id_as=name query=ForceQuery status=204
    Removes a network policy that no pod has.
policies.check GET /pods/ID/policy id_as=ref query=CheckPolicyQuery answer=PolicyVerdict
    Whether a pod's policy lets it reach a URL, and by which rule.
policies.audit GET /denied query=DeniedQuery answer=Denial gives=lines
    What pods were denied by their policies.

manifests.play POST /manifests/play body=PlayBody answer=PlayedList progress credentials
    Makes what a Kubernetes manifest describes.
manifests.down POST /manifests/down body=DownBody answer=PlayedList progress silent
    Removes what was made of a manifest.
manifests.cron_jobs GET /cronjobs answer=CronJobList
    CronJobs, with the Jobs that they have made.
manifests.run_cron_job POST /cronjobs/ID/run id_as=name answer=JobName
    Makes a Job of a CronJob now.
manifests.generate POST /manifests/generate body=GenerateBody answer=Manifest
    Writes a manifest of what is there.
"""

_MEDIA = {"lines": LINES, "frames": FRAMES, "tar": TAR, "bytes": BYTES}
_FACTS = {"Hyper-Path-Facts": "What is there: a PathFacts in JSON, in base64."}
_TELLS = {
    "containers.pack": _FACTS,
    "volumes.pack": _FACTS,
    "containers.read_file": {
        "Hyper-File-Mode": "Octal.",
        "Hyper-File-Uid": "Its owner.",
        "Hyper-File-Gid": "Its group.",
        "Hyper-File-Size": "In bytes, when it was opened; 0 for what the kernel makes up.",
    },
}


class Route:
    """``path``: ID stands for one segment.  ``answer`` is the type of the JSON body, of each line, or "".

    ``takes``, ``gives``: media types of the bodies; ``pieces``: the method gets what comes piece by piece, not as
    a file that a thread may read.  ``tells``: headers of the answer, with what they say.
    ``progress``: the lines tell how far the work is, and ``answer`` is that of its result; ``silent``: of work that
    has nothing to tell before its end.  ``credentials``: it heeds the header with them; the method gets them, and who
    asks.  ``upgrade``: the connection may go on as frames.  ``id_as``: the ID is an argument of the collection's own
    method.  ``also_of_one``: the ID may be that of a pod that a container has to itself.
    """

    query = body = "Nothing"
    answer = ""
    status = 200
    takes = gives = JSON
    pieces = progress = silent = credentials = upgrade = also_of_one = False
    id_as = ""

    def __init__(self, line: str, summary: str) -> None:
        self.name, self.method, path, *words = line.split()
        self.path = f"/v{VERSION}{path}"
        self.summary = summary.strip()
        self.does = self.name
        self.tells: Mapping[str, str] = _TELLS.get(self.name, {})
        for word in words:
            what, given, value = word.partition("=")
            self._say(what, value if given else True)

    def _say(self, what: str, value: Any) -> None:
        assert hasattr(self, what), f"{self.name}: {what}"
        if what == "status":
            value = int(value)
        elif what in ("takes", "gives"):
            value = _MEDIA[value]
        elif what == "progress":
            self.gives = LINES
        setattr(self, what, value)

    @property
    def segments(self) -> list[str]:
        return self.path.split("/")

    def path_of(self, identifier: str) -> str:
        """``identifier`` in the place of ID, escaped already."""
        return self.path.replace("/ID", f"/{identifier}")

    def words(self, identifier: str, options: Mapping[str, object]) -> str:
        """As a user of the API makes the call: its method, its path with ``identifier``, and what is to be said."""
        made = f"{self.method} {self.path_of(identifier or 'ID')}"
        said = [(name, "true" if value is True else str(value)) for name, value in options.items()]
        if not said:
            return made
        if self.body == "Nothing":
            return f"{made}?{'&'.join('='.join(pair) for pair in said)}"
        return f"{made} with {', '.join(' '.join(pair) for pair in said)}"


_ROWS = [line for line in _TABLE.split("\n") if line]
_SAID = {line.partition(" ")[0]: (line, below) for line, below in zip(_ROWS[::2], _ROWS[1::2], strict=True)}
NAMES = _SAID.keys()


def in_words(remedies: Iterable[Remedy], quote: Callable[[str], str]) -> str:
    """How a user of the API makes the calls that help; "" where there is none."""
    known = (remedy for remedy in remedies if remedy.call in NAMES)
    return " or ".join(route(each.call).words(quote(each.of), each.options) for each in known)


def route(name: str) -> Route:
    return Route(*_SAID[name])


def routes() -> list[Route]:
    """All, in the order of the document."""
    return [Route(*said) for said in _SAID.values()]
