"""``gtm certify``: gives datasets their badge, and shows who has one."""

from __future__ import annotations

import getpass
import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from gtm_assets.cli.speech import console, escaped, explained, whole_texts
from gtm_assets.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from gtm_assets.publishing.certification import Dataset


@click.command()
@click.argument("dataset", required=False)
@click.option("--by", help="Who certifies. Default: your login on this machine.")
@explained
def certify(dataset: str | None, by: str | None) -> None:
    """Certify DATASET, if it has all that a certified one needs; without DATASET, show how all of them stand."""
    settings = load_settings()
    if not settings.published_path.exists():
        raise SettingsError(f"nothing is published at {settings.published_path} yet. Build it: gtm run")
    if dataset is None:
        _show(settings)
        return
    from gtm_assets import clock
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.publishing.certification import Certificates, CertificationError, datasets
    from gtm_assets.publishing.certification import certify as give

    known = datasets(json.loads(manifest_path().read_text()))
    if dataset not in known:
        raise CertificationError(f"{dataset} is no dataset. The datasets are: {', '.join(sorted(known))}")
    with TemporaryDirectory() as folder:
        answers = _answers(settings, known[dataset], Path(folder))
        given = give(
            known[dataset],
            settings.published_path,
            answers,
            _failing(settings, known[dataset]),
            by or getpass.getuser(),
            clock.now(),
        )
    Certificates(settings.certificates_path).add(given)
    console.print(
        f"{dataset} is certified by {escaped(given.certified_by)}. It loads in {given.load_seconds:.1f} s, and "
        f"gives {', '.join(known[dataset].metrics)} as the metrics do. Readers see the badge after: gtm run"
    )


def _answers(settings: Settings, dataset: Dataset, folder: Path) -> dict[str, Path]:
    """What the semantic layer says of the dataset's metrics, in a file each."""
    from gtm_assets.dbt.metrics import ask
    from gtm_assets.publishing.certification import CertificationError

    answers = {metric: folder / f"{metric}.csv" for metric in dataset.metrics}
    for metric, answer in answers.items():
        by = ["--group-by", "metric_time__month"] if dataset.metrics[metric].get("by") else []
        said = io.StringIO()
        with redirect_stdout(said):
            try:
                ask(settings, ["query", "--metrics", metric, *by, "--csv", str(answer)])
            except SystemExit as ended:
                if ended.code:
                    raise CertificationError(
                        f"{dataset.name} is not certified: the metric {metric} can't be asked. Try it: "
                        f"gtm metrics query --metrics {metric}"
                    ) from ended
    return answers


def _failing(settings: Settings, dataset: Dataset) -> list[str]:
    """What the dataset's tests found in the publication, of those that did not pass."""
    import duckdb

    with duckdb.connect(str(settings.published_path), read_only=True) as file:
        rows = file.execute(
            "select check_name || ' ' || outcome || ': ' || sentence from gtm_meta.findings where asset = $1",
            [dataset.table.replace(".", "/")],
        ).fetchall()
    return [sentence for (sentence,) in rows]


def _show(settings: Settings) -> None:
    import duckdb

    with duckdb.connect(str(settings.published_path), read_only=True) as file:
        rows = file.execute(
            "select dataset, owner, is_certified, certified_by, strftime(certified_at, '%Y-%m-%d'), reason"
            " from gtm_meta.certified_datasets order by dataset"
        ).fetchall()
    table = whole_texts("dataset", "owner", "certified", "why not")
    for name, owner, is_certified, by, at, reason in rows:
        table.add_row(name, owner, f"by {by}, {at}" if is_certified else "no", reason)
    console.print(table)
