"""A local Salesforce: the synthetic org behind the protocol that clients speak, for tests and demos.

In a test::

    from gtm_assets_tests.salesforce_server import Fault, SalesforceServer, loopback_session

    org, now = SyntheticOrg(seed=1, scale=0.001), datetime(2026, 9, 12, 4, 49, tzinfo=UTC)
    with SalesforceServer(org, now) as server:
        client = Salesforce(  # simple-salesforce
            consumer_key=server.app.consumer_key,
            consumer_secret=server.app.consumer_secret,
            domain="local.my",
            session=loopback_session(server.url),
        )
        server.faults.add(Fault.HTTP_ERROR, match="/query", times=2, status=503)
        server.now += timedelta(days=1)

As a process::

    python -m gtm_assets_tests.salesforce_server --port 8080 --scale 0.01 --at 2026-09-30T04:49:00Z

What a test may use of a server: ``url``, ``app`` (keys, secret, username), ``now`` (set it), ``faults`` (see
:class:`Fault`), ``hide``/``show`` (objects and fields), ``edit``/``delete``/``purge`` (records),
``expire_sessions``, ``daily_requests``, ``polls_in_progress``, ``bulk_page_rows`` and ``log`` (what was asked).

It listens on the loopback only and speaks plain http. It serves client-credentials and JWT-bearer logins,
versions, limits, the list and describes of objects, query, queryAll, deleted and Bulk 2.0 query jobs. It knows
a part of SOQL (see :mod:`.soql`); what it does not know it answers with 501, never with something that
Salesforce would say.
"""

from gtm_assets_tests.salesforce_server.faults import TRANSIENT, Fault, Faults
from gtm_assets_tests.salesforce_server.loopback import LoopbackAdapter, loopback_session
from gtm_assets_tests.salesforce_server.messages import Logged, Request
from gtm_assets_tests.salesforce_server.oauth import ConnectedApp
from gtm_assets_tests.salesforce_server.server import SalesforceServer

__all__ = [
    "TRANSIENT",
    "ConnectedApp",
    "Fault",
    "Faults",
    "Logged",
    "LoopbackAdapter",
    "Request",
    "SalesforceServer",
    "loopback_session",
]
