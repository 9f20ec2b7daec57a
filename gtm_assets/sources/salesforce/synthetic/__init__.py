"""The synthetic Salesforce org: records that behave like a business, made from a seed, a scale and a date.

* ``org``: :class:`SyntheticOrg`, what the rest of the package uses: snapshots and changes.
* ``recipe``, ``timeline``, ``clock``, ``randomness``, ``ids``, ``arrays``, ``series``, ``names``: how
  records are made.
* ``world``: how many records there are, and how leads become accounts, contacts and opportunities.
* ``people``, ``companies``, ``products``, ``deals``, ``deal_parts``, ``history``, ``marketing``, ``activities``,
  ``planning``: the rules of the 25 objects.
"""

from gtm_assets.sources.salesforce.synthetic.org import SyntheticOrg

__all__ = ["SyntheticOrg"]
