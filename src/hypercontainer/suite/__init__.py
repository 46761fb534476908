"""The contract of a hypervisor's driver, as tests: what ``hypervisor.driver`` says, on the driver itself.

A driver's author brings a ``harness.Harness`` and five lines of pytest::

    @pytest.mark.parametrize("case", cases(), ids=str)
    def test_contract(case: Case, tmp_path: Path) -> None:
        run(case, MyHarness, tmp_path)

``case`` has the cases and what they need, ``running`` runs one and proves that nothing is left of it.
"""
