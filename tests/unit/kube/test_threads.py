"""Manifests that are read by several threads at once, in a process that has read none before."""

from __future__ import annotations

import subprocess
import sys

READ = """
import sys, threading
from hypercontainer import kube

text = sys.stdin.read()
begin = threading.Barrier(8)
read = []

def work():
    begin.wait()
    read.append(kube.pods(kube.read(text)[0])[0].spec.name)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*read)
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: c, image: localhost/i, livenessProbe: {exec: {command: ["true"]}}, securityContext: {runAsUser: 1}}
  volumes: [{name: v, emptyDir: {}}]
"""


def test_threads_do_not_meet_in_the_types() -> None:
    done = subprocess.run([sys.executable, "-c", READ], input=POD, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["p"] * 8), done.stderr
