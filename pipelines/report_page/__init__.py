"""One self-contained HTML page about a run or a chain of runs: what `pipelines.report` writes.

- `runs`: what the page is about, opened.
- `accounts`, `samples`, `grounded`, `rejected`, `yields`, `learning`: facts, as plain dataclasses
  whose texts are cut and cleaned by `words`.
- `svg`, `charts`, `thumbnails`: pictures.
- `page`, `page.html.j2`, `page.css`: all of it put together; jinja2 escapes every text.

    from pipelines.report_page import write_report
    write_report(["/data/run1", "/data/grounded"], "report.html")

Whatever comes from the web is hostile here: it never becomes markup, a link is http or https, and
images are decoded and encoded anew.
"""

from pipelines.report_page.page import write_report

__all__ = ["write_report"]
