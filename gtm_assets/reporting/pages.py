"""The pages of the report, in the order of their navigation."""

from __future__ import annotations

from gtm_assets.reporting import executive, operations, revenue, trust
from gtm_assets.reporting.page import Page

PAGES: tuple[Page, ...] = (executive.PAGE, revenue.PAGE, operations.PAGE, trust.PAGE)
