"""Report pages: what is published, as pages that people read in a browser without a server.

A page (``page.py``) is a list of sections; a section holds figures over rows that a query on the published file
gave (``rows.py``). ``html.py`` writes a page with its rows in it, ``frame.js`` draws its charts and follows what a
reader chooses, and ``folder.py`` puts all pages in place at once. ``docs/reports.md`` says how a page or a chart
is added.
"""
