"""What a test has measured is shown at the end of the run: `record_property("measured", sentence)`."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sentences of all tests, also of those that ran in other processes."""
    reports = [report for verdict in ("passed", "failed") for report in terminalreporter.stats.get(verdict, [])]
    measured = [str(value) for report in reports for name, value in report.user_properties if name == "measured"]
    if measured:
        terminalreporter.section("measured")
        for sentence in measured:
            terminalreporter.line(sentence)
