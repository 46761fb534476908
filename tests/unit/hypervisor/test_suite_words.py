"""What the suite takes for a guest's words."""

from __future__ import annotations

from hypercontainer.suite.linux import undisturbed


def test_a_kernel_that_goes_is_not_the_scripts_word() -> None:
    said = "chown: a: Operat[    0.669660] reboot: Power down\r\nion not permitted\ndone\n"
    assert undisturbed(said) == "chown: a: Operation not permitted\ndone\n"
