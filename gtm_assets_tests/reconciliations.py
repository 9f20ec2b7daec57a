"""The reconciliations of all sources together, as the checks of a code location have them."""

from gtm_assets.checks.reconciliation import report_reconciliations
from gtm_assets.sources.registry import SOURCES

SOURCE_RECONCILIATIONS = [rule for source in SOURCES for rule in source.reconciliations()]
RECORD_RECONCILIATIONS = [rule for source in SOURCES for rule in source.record_reconciliations()]
REPORT_RECONCILIATIONS = report_reconciliations([source.report_rows() for source in SOURCES])
