"""What a guest writes to its console is kept, bounded, and fit to be printed."""

from __future__ import annotations

from hypercontainer.suite.case import case
from hypercontainer.suite.harness import FLOOD, Harness
from hypercontainer.suite.linux import LinuxHarness

MAX_BYTES = 65536


@case("letters")
async def a_flood_is_bounded(harness: Harness) -> None:
    vm = await harness.launch(FLOOD)
    await harness.printed(vm, "x" * 60000)
    assert sum(file.stat().st_size for file in vm.record.run_dir.iterdir()) < 80_000
    assert len(vm.console_tail()) <= MAX_BYTES
    assert len(vm.console_tail(100)) == 100
    assert len((await vm.kill()).console) <= MAX_BYTES


@case("letters")
async def a_flood_is_bounded_for_the_next_who_holds_the_vm(harness: Harness) -> None:
    again = await harness.adopted(await harness.launch(FLOOD))
    await harness.printed(again, "x" * 60000)
    assert len(again.console_tail()) <= MAX_BYTES


@case("linux")
async def what_a_terminal_would_act_on_is_left_out(harness: LinuxHarness) -> None:
    script = r"printf 'a\033[31mb\033[2J\033]0;c\007d\000e\001f\b\177g\n'; printf '\377\376h\303\n\302\2334i'"
    said = await harness.says(script)
    assert not {char for char in said if (ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160}
    assert "ab" in said and "def" in said and "h" in said


@case("linux")
async def what_is_said_without_a_line_end_is_told_at_once(harness: LinuxHarness) -> None:
    vm = await harness.launch(**harness.linux("printf 'no end'; sleep 1000000"))
    await harness.printed(vm, "no end")


@case("linux")
async def other_letters_and_long_lines_arrive(harness: LinuxHarness) -> None:
    words = "Zürich 東京 🐳"
    said = await harness.says(f"echo '{words}'; seq -s , 1 3000")
    assert words in said
    assert ",".join(map(str, range(1, 3001))) in said


@case("linux")
async def the_last_word_before_power_off_is_not_lost(harness: LinuxHarness) -> None:
    said = await harness.says("seq 1 2000")
    assert said.split() == [str(number) for number in range(1, 2001)]
