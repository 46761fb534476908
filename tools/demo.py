"""`make demo`: an image from nothing, loaded and run on the hypervisor, with the time that each step took."""

from __future__ import annotations

import itertools
import platform
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import busybox_image

READY_S = 60
NAMES = {"uml": "User Mode Linux", "qemu": "QEMU"}
NUMBERS = itertools.count(1)
HYPER = str(Path(sys.executable).with_name("hyper"))
INSIDE = (
    'echo "Hello from PID $$ of a container in its own VM, kernel $(uname -r)"; free -m | sed -n 2p; ls /'
)


def step(title: str, command: list[str], *, stdin: bytes | None = None) -> float:
    title = f"{next(NUMBERS)}. {title}"
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")
    print(
        "$ " + " ".join(f"'{word}'" if " " in word else word for word in ["hyper", *command[1:]]), flush=True
    )
    start = time.perf_counter()
    done = subprocess.run(command, input=stdin)
    took = time.perf_counter() - start
    if done.returncode != 0:
        print(
            f"\nthat failed with status {done.returncode}; `{HYPER} doctor` looks for the reason",
            file=sys.stderr,
        )
        sys.exit(1)
    return took


def daemon_runs() -> bool:
    found = subprocess.run(
        [HYPER, "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True
    )
    return found.returncode == 0 and bool(found.stdout.strip())


def await_ready(since: str, hypervisor: str) -> None:
    """The first run has VMs of its size made ahead, as soon as the machine is quiet: on QEMU clones of a template."""
    filters = ("--filter", "type=template", "--filter", "event=ready")
    command = [HYPER, "events", "--since", since, *filters, "--format", "{{.Actor.Attributes.hypervisor}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        timer = threading.Timer(READY_S, events.terminate)
        timer.start()
        assert events.stdout is not None
        ready = any(line.strip() == hypervisor for line in events.stdout)
        timer.cancel()
        events.terminate()
    if not ready:
        print(f"\nNo VM was ready after {READY_S} s; hyperd's log says why.", file=sys.stderr)


def fact(name: str) -> str:
    found = subprocess.run([HYPER, "info", "--format", f"{{{{.{name}}}}}"], capture_output=True, text=True)
    return found.stdout.strip()


def ready_and_booted(begun: str, hypervisor: str, *options: str) -> str:
    """From a VM that stands ready, and booted; how long each took."""
    name = NAMES[hypervisor]
    run = [HYPER, "run", "--rm", *options, busybox_image.REFERENCE, "true"]
    if options:
        step(f"Now on {name}", run)
    await_ready(begun, hypervisor)
    ready = step(f"Again: by now another VM of {name} stands ready", run)
    booted = step("And booted when it is asked for", [*run[:3], "--no-template", *run[3:]])
    return f"on {name} {ready:.2f} s from a VM that stands ready, {booted:.2f} s booted"


def main() -> int:
    was_running = daemon_runs()
    begun = datetime.now(UTC).isoformat()
    image = busybox_image.archive([busybox_image.layer()])
    loaded = step("A busybox image, made here, without a registry", [HYPER, "load"], stdin=image)
    reference = busybox_image.REFERENCE
    first = step("Run it, straight on the hypervisor", [HYPER, "run", "--rm", reference, "sh", "-c", INSIDE])
    times = [f"the first {first:.2f} s"]
    if fact("Accelerator") == "native":
        times.append(ready_and_booted(begun, "uml"))
        times.append(ready_and_booted(begun, "qemu", "--hypervisor", "qemu"))
    else:
        times.append(ready_and_booted(begun, "qemu"))
    print(f"\nThe host's kernel is {platform.release()}; the container had one of its own.")
    print(f"Guests run by {fact('Hypervisor')} ({fact('Accelerator')}): {fact('AcceleratorReason')}")
    print(f"Load and make the root disk: {loaded:.2f} s.  Run, start to exit: {', '.join(times)}.")
    if not was_running:
        subprocess.run([HYPER, "system", "stop"], stdout=subprocess.DEVNULL)
    print(f"\nGo on with:  {Path(HYPER).relative_to(Path.cwd())} run --rm -it {reference} sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
