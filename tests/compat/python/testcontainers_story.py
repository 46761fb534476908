"""testcontainers against DOCKER_HOST, in a process of its own; the last line says what was seen, as JSON.

usage: testcontainers_story.py whole FOLDER | postgres | dies | compose FOLDER | build FOLDER
"""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

from testcontainers.compose import DockerCompose
from testcontainers.core.container import DockerContainer, ExecConfig
from testcontainers.core.image import DockerImage
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import (
    ExecWaitStrategy,
    FileExistsWaitStrategy,
    HealthcheckWaitStrategy,
    HttpWaitStrategy,
    LogMessageWaitStrategy,
    PortWaitStrategy,
)

BUSYBOX, POSTGRES, REDIS = "busybox:latest", "postgres:15", "redis:7"
SERVED = "echo ready; exec httpd -f -p 8080 -h /www"
STAYS = ["sleep", "300"]
PROBE = {"test": ["CMD", "wget", "-qO/dev/null", "http://127.0.0.1:8080/"], "interval": 200_000_000}


def container(command: list[str], **more: Any) -> DockerContainer:
    return DockerContainer(BUSYBOX, init=True, **more).with_command(command)


def whole(folder: str) -> dict[str, Any]:
    """``folder`` has the file "given"."""
    said: dict[str, Any] = {}
    with Network() as network:
        server = container(["sh", "-c", SERVED], healthcheck=PROBE).with_exposed_ports(8080)
        server.with_network(network).with_network_aliases("server").with_env("NAME", "value")
        server.with_volume_mapping(folder, "/bound", "rw").with_tmpfs_mount("/scratch", "size=1m")
        server.with_copy_into_container(b"served\n", "/www/index.html")
        server.with_copy_into_container(Path(folder, "given"), "/www/given")
        server.waiting_for(LogMessageWaitStrategy("ready"))
        with server, container(STAYS).with_network(network) as asks:
            for strategy in (HealthcheckWaitStrategy(), PortWaitStrategy(8080), HttpWaitStrategy(8080)):
                strategy.wait_until_ready(server)
            ExecWaitStrategy(["test", "-e", "/www"]).wait_until_ready(server)
            said["alias"] = _output(asks.exec(["wget", "-qO-", "http://server:8080/"]))
            said["bound"] = server.exec("cat /bound/given").output.decode()
            server.exec(["sh", "-c", "echo from inside > /bound/written"])
            FileExistsWaitStrategy(Path(folder, "written")).wait_until_ready(server)
            address = f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8080)}/given"
            said["fetched"] = urllib.request.urlopen(address).read().decode()
            said["written"] = Path(folder, "written").read_text()
            told = ["sh", "-c", "echo $A $NAME $PWD; exit 3"]
            said["configured"] = _output(
                server.exec(ExecConfig(told, environment={"A": "a"}, workdir="/tmp"))
            )
            server.copy_from_container("/www/index.html", Path(folder, "copied"))
            said["copied"] = Path(folder, "copied").read_text()
            said["logs"] = [stream.decode() for stream in server.get_logs()]
    said["redis"] = _redis()
    return said


def _output(result: Any) -> list[Any]:
    return [result.exit_code, result.output.decode()]


def _redis() -> list[Any]:
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(REDIS, password="secret") as container:
        client = container.get_client(decode_responses=True)
        return [client.set("key", "value"), client.get("key"), client.info()["redis_version"].split(".")[0]]


def postgres() -> list[Any]:
    import psycopg
    from testcontainers.community.postgres import PostgresContainer

    made = PostgresContainer(POSTGRES, username="user", password="it's", dbname="base")
    made.with_copy_into_container(b"create table t as select 42 as a;", "/docker-entrypoint-initdb.d/t.sql")
    with made, psycopg.connect(made.get_connection_url(driver=None)) as connection:
        row = connection.execute("select a, current_user, current_database() from t").fetchone()
        said = b"".join(made.get_logs()).decode()
        return [*(row or ()), said.count("database system is ready to accept connections")]


def dies() -> None:
    """Says its session when all of it is there, and waits to be killed."""
    with Network() as network:
        made = container(STAYS, volumes=[("named", "/named", "rw")]).with_network(network).start()
        sdk = made.get_docker_client().client
        labels = {LABEL_SESSION_ID: SESSION_ID}
        sdk.volumes.create(SESSION_ID, labels=labels)
        made.get_wrapped_container().commit(SESSION_ID, changes=f"LABEL {LABEL_SESSION_ID}={SESSION_ID}")
        print(SESSION_ID, flush=True)
        signal.pause()


def compose(folder: str) -> list[Any]:
    with DockerCompose(folder) as project:
        host, port = project.get_service_host_and_port("web", 8080)
        project.wait_for(f"http://localhost:{port}")
        inside = project.exec_in_container(["cat", "/www/index.html"], "web")
        return [host, inside[0], project.get_logs("web")[0].count("ready")]


def build(folder: str) -> list[Any]:
    image = DockerImage(folder, tag="made:1", buildargs={"SAID": "built"})
    with image, DockerContainer("made:1", init=True).with_command(STAYS) as made:
        return _output(made.exec("cat /said"))


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
