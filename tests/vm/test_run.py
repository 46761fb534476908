"""`hyper run` and what follows, with real guests: statuses, streams, names, files, limits."""

from __future__ import annotations

import concurrent.futures
import hashlib
import random
import subprocess

import pytest

import busybox_image
from hyper import Hyper
from soak import rounds

BUSYBOX = busybox_image.REFERENCE


@pytest.mark.each_driver
def test_exit_statuses_come_back(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")

    def status(number: int) -> int:
        return hyper("exec", "c", "sh", "-c", f"exit {number}", check=False).returncode

    numbers = sorted(random.Random(1).sample(range(256), rounds(short=40, soak=256)) + [0, 255])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(status, numbers)) == numbers


@pytest.mark.parametrize("status", [0, 1, 125, 126, 127, 128, 130, 255])
def test_run_has_the_programs_status(hyper: Hyper, status: int) -> None:
    assert hyper("run", "--rm", BUSYBOX, "sh", "-c", f"exit {status}", check=False).returncode == status


def test_statuses_of_hyper_itself_are_dockers(hyper: Hyper) -> None:
    missing = hyper("run", "--rm", BUSYBOX, "nosuch", check=False)
    assert missing.returncode == 127
    assert b'exec: "nosuch": executable file not found in $PATH' in missing.stderr
    assert hyper("run", "--rm", BUSYBOX, "/etc/passwd", check=False).returncode == 126
    assert hyper("run", "--rm", "--nosuch-flag", BUSYBOX, check=False).returncode == 125
    assert hyper("run", "--rm", "--pull", "never", "localhost/nosuch", check=False).returncode == 125
    assert hyper("ps", "-a", "-q").stdout == b""


def test_a_signal_is_128_and_its_number(hyper: Hyper) -> None:
    assert hyper("run", "--rm", "--init", BUSYBOX, "sh", "-c", "kill -USR1 $$", check=False).returncode == 138
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    hyper("kill", "c")
    assert hyper.out("wait", "c") == "137"


def test_stdout_and_stderr_stay_apart_and_logs_have_both(hyper: Hyper) -> None:
    done = hyper("run", "--name", "c", BUSYBOX, "sh", "-c", "echo out; echo err >&2; printf end")
    assert (done.stdout, done.stderr) == (b"out\nend", b"err\n")
    logs = hyper("logs", "c")
    assert (logs.stdout, logs.stderr) == (b"out\nend", b"err\n")
    stamped = hyper("logs", "-t", "--tail", "1", "c")
    # Which of two streams came last nobody knows.
    assert (stamped.stdout + stamped.stderr).endswith((b"Z end", b"Z err\n"))


@pytest.mark.each_driver
def test_bytes_pass_unchanged(hyper: Hyper) -> None:
    data = hashlib.shake_256(b"bytes").digest(8 << 20)
    done = hyper("run", "-i", "--rm", BUSYBOX, "cat", stdin=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_a_reader_that_stops_stalls_its_stream_only(hyper: Hyper) -> None:
    script = (
        "yes out | head -c 4000000 & i=0; while [ $i -lt 300 ]; do echo err$i >&2; i=$((i+1)); done; wait"
    )
    process = hyper.popen(
        "run", "--rm", BUSYBOX, "sh", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(300)]  # while nobody reads standard output
    assert lines == [f"err{number}\n".encode() for number in range(300)]
    assert len(process.stdout.read()) == 4_000_000
    assert process.wait() == 0
    process.stderr.close()
    process.stdout.close()


@pytest.mark.each_driver
def test_users_environment_and_directory(hyper: Hyper) -> None:
    run = ("run", "--rm")
    assert hyper.out(*run, "-u", "nobody", BUSYBOX, "id", "-un") == "nobody"
    assert hyper.out(*run, "-u", "1234:5678", "--group-add", "tty", BUSYBOX, "id").endswith(
        "uid=1234 gid=5678 groups=5(tty),5678"
    )
    shown = hyper.out(
        *run,
        "-e",
        "A=b c",
        "-w",
        "/new/place",
        "-h",
        "box",
        BUSYBOX,
        "sh",
        "-c",
        "echo $A; pwd; hostname; echo $HOME",
    )
    assert shown.split("\n") == ["b c", "/new/place", "box", "/root"]
    unknown = hyper(*run, "-u", "nosuch", BUSYBOX, "true", check=False)
    assert unknown.returncode in (125, 126)
    assert b"unable to find user nosuch" in unknown.stderr


def test_the_image_is_pid_1_and_sees_only_its_own(hyper: Hyper) -> None:
    script = "cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l; ls /; grep -c . /proc/mounts >/dev/null; dmesg 2>&1 || true"
    lines = hyper.out("run", "--rm", BUSYBOX, "sh", "-c", script).split("\n")
    assert lines[0] == "sh"
    assert int(lines[1]) <= 3
    assert "init" not in lines[2:]
    assert lines[-1].endswith("Operation not permitted")


def test_privileges_are_dockers(hyper: Hyper) -> None:
    status = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -s '\\t\\n' '  '"
    run = ("run", "--rm")
    assert hyper.out(*run, BUSYBOX, "sh", "-c", status) == "CapEff: 00000000a80425fb NoNewPrivs: 0 Seccomp: 2"
    assert (
        hyper.out(*run, "-u", "nobody", BUSYBOX, "sh", "-c", status)
        == "CapEff: 0000000000000000 NoNewPrivs: 0 Seccomp: 2"
    )
    assert (
        hyper.out(
            *run, "--cap-drop", "ALL", "--security-opt", "no-new-privileges", BUSYBOX, "sh", "-c", status
        )
        == "CapEff: 0000000000000000 NoNewPrivs: 1 Seccomp: 2"
    )
    assert hyper(*run, BUSYBOX, "mount", "-t", "tmpfs", "x", "/mnt", check=False).returncode != 0
    hyper(*run, "--privileged", BUSYBOX, "sh", "-c", "mkdir /mnt && mount -t tmpfs x /mnt")
    assert (
        hyper(*run, BUSYBOX, "unshare", "-U", "true", check=False).returncode != 0
    )  # seccomp: no user namespaces


def test_read_only_and_tmpfs(hyper: Hyper) -> None:
    run = ("run", "--rm", "--read-only", "--tmpfs", "/scratch:size=4m,mode=1777")
    script = "touch /file 2>&1; touch /scratch/file && echo fine; df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2"
    lines = hyper.out(*run, BUSYBOX, "sh", "-c", script).split("\n")
    assert lines[0].endswith("Read-only file system")
    assert lines[1:] == ["fine", "4096"]


@pytest.mark.each_driver
def test_the_writable_disk_survives_stop_and_start(hyper: Hyper) -> None:
    hyper("run", "--name", "c", BUSYBOX, "sh", "-c", "cat /count 2>/dev/null; echo line >> /count")
    hyper("start", "-a", "c")
    assert hyper.out("logs", "c") == "line"
    assert hyper.out("start", "-a", "c") == "line\nline"


def test_umask(hyper: Hyper) -> None:
    made = "umask; touch /tmp/x; mkdir /tmp/d; stat -c %a /tmp/x /tmp/d"
    assert hyper.out("run", "--rm", BUSYBOX, "sh", "-c", made).split() == ["0022", "644", "755"]
    assert hyper.out("run", "--rm", "--umask", "0027", BUSYBOX, "sh", "-c", made).split() == [
        *("0027", "640", "750")
    ]
    hyper("run", "-d", "--name", "open", "--umask", "0", BUSYBOX, "sleep", "1000")
    assert hyper.out("exec", "open", "sh", "-c", made).split() == ["0000", "666", "777"]
    assert hyper.inspect("open")["HostConfig"]["Umask"] == 0
    refused = hyper("create", "--umask", "1000", BUSYBOX, check=False)
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (
        1,
        b"hyper: --umask: 0o1000 is out of range",
    )
    assert b"not an octal number" in hyper("run", "--umask", "u=rwx", BUSYBOX, check=False).stderr


@pytest.mark.needs("several processors")
def test_a_limit_of_time_is_a_number_of_processors(hyper: Hyper) -> None:
    assert hyper.out("run", "--rm", "--cpus", "2", BUSYBOX, "nproc") == "2"


@pytest.mark.each_driver
def test_limits(hyper: Hyper) -> None:
    run = ("run", "--rm")
    total_kib = int(
        hyper.out(*run, "-m", "256m", BUSYBOX, "sh", "-c", "grep MemTotal /proc/meminfo").split()[1]
    )
    assert 200 * 1024 < total_kib < 256 * 1024
    assert (
        hyper.out(*run, "--ulimit", "nofile=99:100", BUSYBOX, "sh", "-c", "ulimit -n; ulimit -Hn")
        == "99\n100"
    )
    forks = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; true"
    bounded = hyper(*run, "--pids-limit", "4", BUSYBOX, "sh", "-c", forks, check=False)
    assert b"can't fork" in bounded.stderr
    assert (
        hyper.out(
            *run, "--shm-size", "1m", BUSYBOX, "sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'"
        )
        == "1024"
    )


def test_memory_that_is_used_up_kills_the_process_not_the_vm(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", "sleep 1000")
    eater = hyper("exec", "c", "sh", "-c", "tail /dev/zero", check=False, timeout_s=200)
    assert eater.returncode == 137
    assert hyper.out("exec", "c", "echo", "still here") == "still here"
