"""The report: one self-contained HTML page. A section is two files in `sections/`: its data, and its template."""
