"""A live Salesforce organisation, over its REST API and Bulk API 2.0."""

from gtm_assets.sources.salesforce.live.org import LiveOrg

__all__ = ["LiveOrg"]
