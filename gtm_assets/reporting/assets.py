"""The report as an asset: it follows the published file."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from gtm_assets.publishing.publish import ASSET_KEY as PUBLISHED
from gtm_assets.publishing.publish import GROUP
from gtm_assets.reporting.names import FIRST_PAGE

ASSET_KEY = dg.AssetKey(["published", "report"])


def report_asset(published_path: Path, folder: Path) -> dg.AssetsDefinition:
    """The pages of ``published_path`` in ``folder``."""

    @dg.asset(
        key=ASSET_KEY,
        deps=[PUBLISHED],
        group_name=GROUP,
        kinds={"html", "altair"},
        tags={"layer": "published"},
        description="Pages that people read in a browser, without a server: published/report/index.html. They "
        "show the reports of the published file, and all of their rows: share them with those who may see these. "
        "They are replaced at once, and stay as they are where no figure has changed.",
    )
    def report() -> dg.MaterializeResult[None]:
        # Imported here: what draws charts takes seconds to import, and most processes draw none.
        from gtm_assets.reporting.report import write_report

        written = write_report(published_path, folder)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(folder / FIRST_PAGE)),
                "address": dg.MetadataValue.url((folder / FIRST_PAGE).absolute().as_uri()),
                "pages": len(written.pages),
                "figures": written.figures,
                "rewritten": written.rewritten,
                "seconds": round(written.seconds, 2),
                "bytes": sum(path.stat().st_size for path in folder.iterdir()),
            }
        )

    return report
