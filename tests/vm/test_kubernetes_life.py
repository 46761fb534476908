"""Manifests played for real: the order of a pod's containers, probes and hooks, workloads, services, playing again."""

from __future__ import annotations

import json

import yaml

from audit import kill_process
from free_port import free_port
from hyper import Hyper
from manifests import FOREVER, Cluster, Document, claim, container, golden, lines, pod, thing
from reach import http_get

# ------------------------------------------------------------------------------------------------------ order


def test_init_containers_hand_over_a_page(cluster: Cluster) -> None:
    page = "/usr/share/nginx/html"
    cluster.play(*golden("init_containers", {"web": f"cat {page}/index.html; touch {page}/x"}))
    cluster.hyper.wait_for_log("greeter-web", b"Read-only")
    assert "hello from greeter" in lines(cluster.hyper.out("logs", "greeter-web"))
    for name in ("wait-for-disk", "write-page"):
        shown = cluster.hyper.inspect(f"greeter-{name}")["State"]
        assert (shown["Status"], shown["ExitCode"]) == ("exited", 0)


def test_a_log_shipper_begins_before_and_ends_after_the_program(cluster: Cluster) -> None:
    # The shipper's startup probe waits for a file that is there only when the shipper has made it itself.
    ship = "touch /logs/app.log; trap 'cat /logs/app.log; exit 0' TERM; tail -f /dev/null & wait"
    scripts = {
        "shipper": ship,
        "prepare": "test -e /logs/app.log && echo prepared >> /logs/app.log",
        "app": "for i in 1 2 3; do echo line $i >> /logs/app.log; done",
    }

    def change(spec: Document) -> None:
        spec["initContainers"][0]["volumeMounts"][0]["readOnly"] = False

    cluster.play(*golden("sidecars", scripts, change))
    assert cluster.ends("with-shipper-app") == (0, "")
    status, text = cluster.ends("with-shipper-shipper")
    assert (status, lines(text)) == (0, ["prepared", "line 1", "line 2", "line 3"])
    cluster.until_pod("with-shipper", "State", "Succeeded")
    ended = [
        cluster.hyper.inspect(f"with-shipper-{name}")["State"]["FinishedAt"]
        for name in ("prepare", "app", "shipper")
    ]
    assert ended == sorted(ended)


def test_nothing_follows_an_init_container_that_fails(cluster: Cluster) -> None:
    told = cluster.refused(
        pod("broken", container("a"), initContainers=[container("first", "echo no; exit 3")])
    )
    assert "broken-first failed" in told
    assert cluster.ends("broken-first") == (3, "no\n")
    cluster.until_pod("broken", "State", "Failed")
    assert cluster.hyper.inspect("broken-a")["State"]["Status"] == "created"


# ----------------------------------------------------------------------------------------- probes and restarts


def probed() -> Document:
    serve = "mkdir -p /w; echo live > /w/live; httpd -f -p 8080 -h /w & echo up; trap 'echo ends; exit 0' TERM; wait"
    often: Document = {"periodSeconds": 1, "failureThreshold": 1}
    members = [
        container(
            "web",
            serve,
            ports=[{"name": "http", "containerPort": 8080}],
            startupProbe={
                "exec": {"command": ["test", "-e", "/tmp/started"]},
                **often,
                "failureThreshold": 99,
            },
            readinessProbe={"httpGet": {"path": "/ready", "port": "http"}, **often},
            livenessProbe={"httpGet": {"path": "/live", "port": 8080}, **often},
            lifecycle={
                "postStart": {"exec": {"command": ["sh", "-c", "hostname > /tmp/hook"]}},
                "preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1"]}},
            },
        ),
        container(
            "tcp",
            "until test -e /tmp/go; do sleep 0.1; done; exec nc -ll -p 9000 -e true",
            readinessProbe={"tcpSocket": {"port": 9000}, **often},
        ),
        container("stubborn", "trap '' TERM; echo up; while :; do sleep 1000; done"),
    ]
    return pod("probed", *members, restartPolicy="Always", terminationGracePeriodSeconds=1)


def test_probes_and_hooks(cluster: Cluster) -> None:
    hyper = cluster.hyper
    cluster.play(probed())
    hyper.wait_for_log("probed-web", b"up")
    hyper.wait_for_log("probed-stubborn", b"up")
    assert cluster.sh("probed-web", "cat /tmp/hook") == "probed"
    cluster.sh("probed-tcp", "touch /tmp/go")
    cluster.sh("probed-web", "touch /w/ready")
    assert cluster.pod("probed")["Ready"] is False  # the startup probe holds the others up
    cluster.sh("probed-web", "touch /tmp/started")
    cluster.until_pod("probed", "Ready", True)
    cluster.sh("probed-web", "rm /w/ready")
    cluster.until_pod("probed", "Ready", False)
    # The liveness probe fails: hook, signal, and at once a new start.
    cluster.sh("probed-web", "rm /w/live")
    hyper.until(lambda: hyper.out("logs", "probed-web").count("up") == 2, "it starts again")
    assert lines(hyper.out("logs", "probed-web")) == ["up", "hook", "ends", "up"]
    assert hyper.inspect("probed-web")["RestartCount"] == 1
    assert hyper.inspect("probed-tcp")["RestartCount"] == 0
    # Who does not listen to the signal is killed when the pod's time is over.
    hyper("pod", "stop", "probed")
    assert hyper.inspect("probed-stubborn")["State"]["ExitCode"] == 137
    assert lines(hyper.out("logs", "probed-web")) == ["up", "hook", "ends", "up", "hook", "ends"]


def test_restarts_wait_longer_each_time(cluster: Cluster) -> None:
    failing = container("failing", "echo run; exit 1")
    cluster.play(pod("again", failing, container("good", "echo once"), restartPolicy="OnFailure"))
    assert cluster.ends("again-good") == (0, "once\n")

    def waiting() -> bool:  # the first time it starts at once
        shown = cluster.hyper.inspect("again-failing")
        return (shown["State"]["Status"], shown["RestartCount"]) == ("restarting", 1)

    cluster.hyper.until(waiting, "it was started again, and waits")
    assert cluster.hyper.out("logs", "again-failing") == "run\nrun"
    assert cluster.pod("again")["State"] == "Running"


def test_what_was_killed_for_memory_runs_again(cluster: Cluster) -> None:
    hog = "test -e /d/x && exit 0; touch /d/x; exec dd if=/dev/zero of=/dev/null bs=60M count=1"
    mounts = [{"name": "d", "mountPath": "/d"}]
    limited = container("hog", hog, resources={"limits": {"memory": "16Mi"}}, volumeMounts=mounts)
    cluster.play(pod("oom", limited, volumes=[{"name": "d"}], restartPolicy="OnFailure"))
    assert cluster.ends("oom-hog") == (0, "")
    shown = cluster.hyper.inspect("oom-hog")
    assert (shown["RestartCount"], shown["State"]["OOMKilled"]) == (1, False)
    past = ("events", "--since", "24h", "--until", "0s", "--filter", "container=oom-hog", "--format", "json")
    events = [json.loads(line) for line in cluster.hyper.out(*past).splitlines()]
    deaths = [one["Actor"]["Attributes"]["exitCode"] for one in events if one["Action"] == "die"]
    assert deaths == ["137", "0"]


def test_a_pod_ends_at_its_deadline(cluster: Cluster) -> None:
    cluster.play(pod("late", container("a"), activeDeadlineSeconds=5))
    cluster.ends("late-a")
    cluster.until_pod("late", "State", "Failed")
    assert cluster.pod("late")["Reason"] == "it ran longer than its 5 s"


def test_what_programs_leave_at_their_end(cluster: Cluster) -> None:
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    scripts: dict[str, tuple[str, Document]] = {
        "told": ("echo why > /dev/termination-log; echo more; exit 3", {}),
        "own": ("echo mine > /tmp/why", {"terminationMessagePath": "/tmp/why"}),
        "log": ("echo of the log; exit 1", fallback),
        "both": ("echo written > /dev/termination-log; echo of the log; exit 1", fallback),
        "good": ("echo of the log", fallback),
    }
    cluster.play(pod("last", *(container(name, script, **more) for name, (script, more) in scripts.items())))
    cluster.until_pod("last", "State", "Failed")
    found = {name: cluster.hyper.inspect(f"last-{name}")["State"].get("Message", "") for name in scripts}
    assert found == {"told": "why\n", "own": "mine\n", "log": "of the log\n", "both": "written\n", "good": ""}


# -------------------------------------------------------------------------------------------------- workloads


def test_another_pod_of_the_same_name(cluster: Cluster) -> None:
    first, second = pod("same", container("a", "echo one")), pod("same", container("a", "echo two"))
    cluster.play(first)
    assert cluster.ends("same-a") == (0, "one\n")
    # What has ended for good does not run once more.
    assert cluster.play(first) == {"pod/same": "unchanged"}
    assert cluster.ends("same-a") == (0, "one\n")
    assert "--replace" in cluster.refused(second)
    assert cluster.play(second, flags=("--replace",)) == {"pod/same": "replaced"}
    assert cluster.ends("same-a") == (0, "two\n")
    assert cluster.play(first, flags=("--replace", "--no-start")) == {"pod/same": "replaced"}
    assert cluster.pod("same")["State"] == "Created"


def test_a_stateful_set_finds_its_disks_again(cluster: Cluster) -> None:
    script = f"cat /data/name; hostname >> /data/name; sync; echo up; {FOREVER}"
    documents = golden("stateful_set", {"redis": script})
    cluster.play(*documents)
    assert cluster.hyper.out("volume", "ls", "-q").split() == ["data-db-3", "data-db-4"]
    cluster.hyper.wait_for_log("db-3-redis", b"up")
    cluster.hyper.wait_for_log("db-4-redis", b"up")
    cluster.down(*documents)
    cluster.play(*documents)
    for name in ("db-3", "db-4"):
        cluster.hyper.wait_for_log(f"{name}-redis", b"up")
        assert lines(cluster.hyper.out("logs", f"{name}-redis")) == [name, "up"]


def test_a_job_runs_to_its_completion(cluster: Cluster) -> None:
    cluster.play(*golden("job", {}))
    for index in range(3):
        assert cluster.ends(f"count-{index}-count") == (0, f"{index}\n")
        cluster.until_pod(f"count-{index}", "State", "Succeeded")


def test_what_fails_in_a_job_runs_again(cluster: Cluster) -> None:
    script = "echo run; test -e /d/tried && exit 0; touch /d/tried; exit 1"
    once = pod(
        "x", container("a", script, volumeMounts=[{"name": "d", "mountPath": "/d"}]), volumes=[{"name": "d"}]
    )
    never = pod("x", container("a", "echo run; exit 1"))
    cluster.play(
        thing("batch/v1", "Job", "twice", spec={"template": {"spec": once["spec"]}}),
        thing("batch/v1", "Job", "fails", spec={"backoffLimit": 0, "template": {"spec": never["spec"]}}),
    )
    cluster.until_pod("twice-0", "State", "Succeeded")
    assert cluster.ends("twice-0-a") == (0, "run\nrun\n")
    assert cluster.ends("fails-0-a") == (1, "run\n")
    cluster.until_pod("fails-0", "State", "Failed")


def test_a_cron_job_outlives_its_hyperd(own_hyper: Hyper) -> None:
    """A Job of it runs on while hyperd is killed; the next hyperd knows both, and takes both away."""
    cluster, hyper = Cluster(own_hyper), own_hyper
    script = "id; echo up; until test -e /tmp/go; do sleep 0.1; done"
    made = pod("x", container("c", script), securityContext={"runAsGroup": 3000})
    job = {"backoffLimit": 0, "template": {"spec": made["spec"]}}
    cron = thing("batch/v1", "CronJob", "yearly", spec={"schedule": "@yearly", "jobTemplate": {"spec": job}})
    assert cluster.play(cron) == {"cronjob/yearly": "created"}
    name = hyper.out("cronjob", "run", "yearly").strip()
    cluster.until_pod(f"{name}-0", "State", "Running")
    hyper.wait_for_log(f"{name}-0-c", b"up")
    kill_process(hyper.daemon_pid())
    assert hyper.out("cronjob", "ls", "--format", "{{.Name}} {{.Active}} {{.Jobs}}") == f"yearly 1 {name}"
    cluster.sh(f"{name}-0-c", "touch /tmp/go")
    assert cluster.ends(f"{name}-0-c") == (0, "uid=0(root) gid=3000 groups=3000\nup\n")
    cluster.until_pod(f"{name}-0", "State", "Succeeded")
    assert hyper.out("cronjob", "ls", "--format", "{{.Active}} {{.Succeeded}}") == "0 1"
    assert cluster.down(cron) == {"cronjob/yearly": "removed"}
    assert hyper.out("cronjob", "ls", "-q") + hyper.out("ps", "-aq") == ""


def test_images_of_private_registries(cluster: Cluster) -> None:
    documents = golden("pull_secrets", {"app": "echo up"}, lambda spec: spec.update(restartPolicy="Never"))
    text = "\n---\n".join(json.dumps(one) for one in documents).encode()
    done = cluster.hyper("play", "-", stdin=text)
    told = done.stderr.decode()
    assert all(word in told for word in ("lost", "nodeSelector", "tolerations")), told
    assert cluster.ends("private-app") == (0, "up\n")


# ------------------------------------------------------------------------------------------------ round trips


def shown(cluster: Cluster, name: str) -> str:
    look = (
        "env | grep -v -E 'HOSTNAME|SHLVL|PWD'; id; cat /etc/conf/a /data/kept; hostname; grep foo /etc/hosts"
    )
    return cluster.sh(name, look)


def test_what_runs_is_written_down_and_played_again(cluster: Cluster) -> None:
    hyper = cluster.hyper
    podfile = {
        "id": "trip",
        "hostname": "abroad",
        "containers": [
            {
                "name": "trip-a",
                "image": "localhost/busybox",
                "command": ["sh", "-c", FOREVER],
                "envs": [{"env": "A", "value": "$(B) $x"}],
                "files": [{"path": "/etc/conf/a", "filename": "a", "perm": "0644"}],
                "volumes": [{"volume": "data", "path": "/data"}],
                "user": {"name": "1000", "group": "3000", "additionalGroups": ["4000"]},
            }
        ],
        "files": [{"name": "a", "content": "of the file\n"}],
        "volumes": [{"name": "data"}],
    }
    hyper("run", "-d", "--podfile", "-", stdin=json.dumps(podfile).encode())
    before = shown(cluster, "trip-a")
    assert "of the file" in before
    assert "A=$(B) $x" in before
    assert "uid=1000 gid=3000 groups=3000,4000" in before
    text = hyper.out("generate", "kube", "trip").encode()
    hyper("pod", "rm", "-f", "trip")
    hyper("play", "-", stdin=text)
    name = hyper.out("ps", "--format", "{{.Names}}")
    assert shown(cluster, name) == before
    # The manifest that was played comes back, without the ConfigMap that its pod refers to.
    again = list(yaml.safe_load_all(hyper.out("generate", "kube", "trip")))
    assert again == [one for one in yaml.safe_load_all(text) if one["kind"] == "Pod"]
    hyper("down", "-", stdin=text)
    assert hyper.out("pod", "ls", "-q") == ""


def test_a_container_alone_is_played_as_a_pod(cluster: Cluster) -> None:
    hyper, port = cluster.hyper, free_port()
    hyper(
        *(
            "run",
            "-d",
            "--name",
            "solo",
            "-e",
            "A=1",
            "-p",
            f"{port}:8080",
            "-v",
            "data:/data",
            "--user",
            "5:6",
        ),
        *("-l", "app=solo", "--add-host", "foo.test:192.0.2.1", "--dns", "192.0.2.2", "--hostname", "abroad"),
        *("localhost/busybox", "sh", "-c", f"httpd -p 8080 -h /etc; {FOREVER}"),
    )
    before = shown(cluster, "solo")
    text = hyper.out("generate", "kube", "solo").encode()
    hyper("rm", "-f", "solo")
    hyper("play", "-", stdin=text)
    assert shown(cluster, "solo-solo") == before
    assert http_get(f"127.0.0.1:{port}", "/hostname") == (200, b"abroad\n")
    assert cluster.pod("solo")["Labels"] == {"app": "solo"}
    hyper("down", "--volumes", "-", stdin=text)


def test_a_played_manifest_comes_back(cluster: Cluster) -> None:
    document = pod("back", container("a", env=[{"name": "A", "value": "1"}]), shareProcessNamespace=True)
    document["metadata"]["labels"] = {"app": "back"}
    (deployment, *_) = golden("deployment", {})
    cluster.play(document, claim("unused"), deployment)
    replica = yaml.safe_load(cluster.hyper.out("generate", "kube", "web-1"))
    assert replica["metadata"] == {"name": "web-1", "labels": {"app": "web", "tier": "front"}}
    assert replica["spec"] == deployment["spec"]["template"]["spec"]
    text = cluster.hyper.out("generate", "kube", "back")
    assert yaml.safe_load(text) == document


# ---------------------------------------------------------------------------------------------------- refused


def test_what_cannot_be_had_is_refused_by_name_and_nothing_is_made(cluster: Cluster) -> None:
    good = pod("good", container("a"))
    of_data = {"persistentVolumeClaim": {"claimName": "data"}}
    for spec, word in (
        ({"hostNetwork": True}, "hostNetwork"),
        ({"volumes": [{"name": "v", "cephfs": {"monitors": ["m"]}}]}, "cephfs"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]}, "none"),
        ({"volumes": [{"name": "v", "configMap": {"name": "nowhere"}}]}, "nowhere"),
        ({"volumes": [{"name": name, **of_data} for name in "vw"]}, "the claim 'data'"),
        ({"restartPolice": "Never"}, "restartPolicy"),
    ):
        told = cluster.refused(good, pod("bad", container("b"), **spec))
        assert word in told, told
    assert cluster.hyper.out("pod", "ls", "-q") == ""
    assert cluster.hyper.out("ps", "-aq") == ""


def test_what_was_played_before_is_remembered(cluster: Cluster) -> None:
    words = thing("v1", "ConfigMap", "words", data={"WORD": "kept"})
    reader = pod("reads", container("a", "echo $WORD", envFrom=[{"configMapRef": {"name": "words"}}]))
    reader["spec"]["restartPolicy"] = "Never"
    assert "words" in cluster.refused(reader)
    cluster.play(words)
    cluster.play(reader)
    assert cluster.ends("reads-a") == (0, "kept\n")
    cluster.down(reader)
    cluster.down(words)
    assert "words" in cluster.refused(reader)


def test_a_restarted_container_has_a_clean_root(cluster: Cluster) -> None:
    script = "test -e /x && echo left over; touch /x; test -e /v/x || { touch /v/x; exit 1; }; echo again"
    mounts = [{"name": "v", "mountPath": "/v"}]
    again = pod("again", container("a", script, volumeMounts=mounts), volumes=[{"name": "v", "emptyDir": {}}])
    again["spec"]["restartPolicy"] = "OnFailure"
    cluster.play(again)
    cluster.until_pod("again", "State", "Succeeded")
    assert cluster.hyper.out("logs", "again-a") == "again"
