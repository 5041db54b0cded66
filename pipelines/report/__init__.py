"""The report: one self-contained HTML page. A section is two files in `sections/`: its data, and its template."""

from windtunnel.pipelines.report.collect import ReportData, collect
from windtunnel.pipelines.report.page import write_report

__all__ = ["ReportData", "collect", "write_report"]
