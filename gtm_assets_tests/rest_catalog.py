"""A server of Iceberg's REST interface, on the loopback: Iceberg's own adapter, as its tests have it, over a file.

`python -m gtm_assets_tests.rest_catalog` has Maven fetch it into the virtual environment. Hadoop is Spark's.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gtm_assets.engines.spark import OLDEST_JAVA
from gtm_assets_tests.browser import free_port
from gtm_assets_tests.trino_server import fetch_jars, java, started, wait_until

JARS = Path(sys.prefix, "share", "gtm_assets", "rest")
ARTIFACTS = (
    # The newest release whose tests are published.
    "org.apache.iceberg:iceberg-core:1.11.0",
    "org.apache.iceberg:iceberg-core:1.11.0:tests",
    "org.eclipse.jetty.ee11:jetty-ee11-servlet:12.1.11",
    "org.xerial:sqlite-jdbc:3.50.3.0",
)
SERVER = """
import java.net.InetSocketAddress;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee11.servlet.ServletContextHandler;
import org.eclipse.jetty.ee11.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;

class Serve {
    public static void main(String[] given) throws Exception {
        var catalog = new JdbcCatalog();
        catalog.setConf(new Configuration());
        catalog.initialize("served", Map.of("uri", given[1], "warehouse", given[2], "jdbc.schema-version", "V1"));
        var context = new ServletContextHandler();
        context.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(catalog))), "/*");
        var server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(given[0])));
        server.setHandler(context);
        server.start();
        System.out.println("SERVER STARTED");
    }
}
"""


def fetch() -> None:
    """Have Maven fetch what the server is made of."""
    shutil.rmtree(JARS, ignore_errors=True)
    fetch_jars(JARS, *ARTIFACTS)


def missing() -> str | None:
    """What is missing for tests with the server, as a reason to skip them."""
    if java(OLDEST_JAVA) is None or find_spec("pyspark") is None:
        return "Java or the extra spark is not installed"
    return None if JARS.exists() else "what the server is made of is not here: make setup-readers"


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a server that runs meanwhile, with an empty catalogue whose tables lie in the folder."""
    spec = find_spec("pyspark")
    assert spec and spec.origin, missing()
    hadoop = sorted(Path(spec.origin).parent.glob("jars/hadoop-client-*.jar"))
    port = free_port()
    (folder / "Serve.java").write_text(SERVER)
    path = ":".join(map(str, [JARS / "*", *hadoop]))
    places = [f"jdbc:sqlite:{folder / 'catalog.db'}", f"file:{folder / 'tables'}"]
    with started(["java", "-cp", path, folder / "Serve.java", str(port), *places], folder) as log:
        wait_until(log, "SERVER STARTED", seconds=60)
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    fetch()
