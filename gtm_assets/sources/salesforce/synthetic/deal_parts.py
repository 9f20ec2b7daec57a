"""The parts of a deal: its product lines and the roles of contacts in it."""

from __future__ import annotations

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Ints
from gtm_assets.sources.salesforce.synthetic.clock import NEVER
from gtm_assets.sources.salesforce.synthetic.deals import (
    LINES,
    REPRICED,
    Opportunities,
    all_deals,
    deal_lines,
    deal_owner,
    deals_of,
    line_count,
    pricebook,
    primary_contact,
)
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.people import user_ids
from gtm_assets.sources.salesforce.synthetic.products import entry_code, list_price, product_name
from gtm_assets.sources.salesforce.synthetic.recipe import Columns, Recipe, with_deletion
from gtm_assets.sources.salesforce.synthetic.timeline import (
    DELETED,
    RESTORED,
    TOUCHED,
    Happening,
    Timeline,
    Versions,
)
from gtm_assets.sources.salesforce.synthetic.world import World

_EDITED = 8
_ROLES_OF_DEAL = 4
ROLES = ["Decision Maker", "Economic Buyer", "Influencer", "Evaluator", "Executive Sponsor", "Other"]
_PLACES = 4


class LineItems(Recipe):
    """Lines of deals: made when the deal's amount becomes final, deleted and restored with it."""

    name = "opportunity_line_item"

    def __init__(self, world: World) -> None:
        """The lines follow the deals of the same world."""
        super().__init__(world)
        self._deals = Opportunities(world)

    def codes(self, first: int, last: int) -> Ints:
        """The lines of the deals of the days."""
        deals = self._deals.codes(first, last)
        place = np.arange(LINES)[None, :]
        rows, places = np.nonzero(place < line_count(self.world, deals)[:, None])
        return deals[rows] * _PLACES + places

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """The instants are the deal's own. Now and then the text is edited."""
        parent = codes // _PLACES
        deals = self._deals.timelines(parent, until)
        prices = deals_of(self.world, parent).prices
        reached = (deals.kind == REPRICED).cumsum(axis=1) >= prices[:, None]
        final = np.where(reached & (deals.at < NEVER), deals.at, NEVER).min(axis=1)

        def after(kind: int) -> Ints:
            at = np.where(deals.kind == kind, deals.at, NEVER).min(axis=1)
            return np.where(at > final, at, NEVER)

        edits = self.slow_changes(codes, np.minimum(final, deals.at[:, 0] + 10**8), until, 100, {_EDITED: 1})
        span = after(DELETED), after(RESTORED)
        events: list[Happening] = [edits, (DELETED, span[0]), (RESTORED, span[1])]
        return Timeline.of(final, events, silent=span)

    def columns(self, versions: Versions) -> Columns:
        """Product, quantity and price."""
        code, world, names = versions.codes, self.world, self.world.names
        parent, place = code // _PLACES, code % _PLACES
        deals = deals_of(world, parent)
        lines = deal_lines(world, deals)
        rows = np.arange(len(code))
        product = lines.product[rows, place]
        owner = user_ids(deal_owner(world, deals, 0))
        turn = versions.count(_EDITED)
        return {
            "opportunity_id": ids("006", parent),
            "pricebook_entry_id": ids("01u", entry_code(product, pricebook(world, parent))),
            "product_2_id": ids("01t", product),
            "name": product_name(world, product),
            "quantity": series.number(lines.quantity[rows, place]),
            "unit_price": series.money(lines.unit_dollars[rows, place] * 100),
            "list_price": series.money(list_price(world, product) * 100),
            "discount": series.number(lines.discount[rows, place], lines.discount[rows, place] == 0),
            "total_price": series.money(lines.cents[rows, place]),
            "service_date": series.day(
                deals.closed_day + 1 + self.dice.below("service", 30, code, turn),
                self.dice.happens("no service date", 0.4, code),
            ),
            "description": series.text(
                names.sentences,
                self.dice.below("text", len(names.sentences), code, turn),
                self.dice.happens("no text", 0.5, code, turn),
            ),
            "created_by_id": owner,
            "last_modified_by_id": owner,
        }


class ContactRoles(Recipe):
    """Roles of contacts in deals: none, one or two for a deal, the primary contact's first."""

    name = "opportunity_contact_role"

    def codes(self, first: int, last: int) -> Ints:
        """The roles of the deals of the days, where the account has so many contacts."""
        deals = all_deals(self.world, last)
        deals = deals.take((deals.created_day >= first) & (deals.created_day <= last))
        count = self.dice.one_of("roles", (42, 42, 16), deals.codes)
        others = [primary_contact(self.world, deals), primary_contact(self.world, deals, skip=1)]
        exists = np.stack([(others[place] >= 0) & (place < count) for place in (0, 1)], axis=1)
        rows, places = np.nonzero(exists)
        return deals.codes[rows] * _ROLES_OF_DEAL + places

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """Made soon after the deal; the role changes about once in 150 days."""
        created = deals_of(self.world, codes // _ROLES_OF_DEAL).created
        created = created + 60 + self.dice.below("wait", 6 * 3600, codes)
        span = self.deletion(codes, created, 0.012, 300)
        return with_deletion(
            [self.slow_changes(codes, created, until, 150, {_EDITED: 1, TOUCHED: 1})], created, span
        )

    def columns(self, versions: Versions) -> Columns:
        """Contact and role."""
        code, world = versions.codes, self.world
        parent, place = code // _ROLES_OF_DEAL, code % _ROLES_OF_DEAL
        deals = deals_of(world, parent)
        contact = np.where(place == 0, primary_contact(world, deals), primary_contact(world, deals, skip=1))
        role = (self.dice.below("role", len(ROLES), code) + versions.count(_EDITED)) % len(ROLES)
        owner: pl.Series = user_ids(deal_owner(world, deals, 0))
        return {
            "opportunity_id": ids("006", parent),
            "contact_id": ids("003", contact),
            "role": series.text(ROLES, role, self.dice.happens("no role", 0.1, code)),
            "is_primary": series.flag(place == 0),
            "created_by_id": owner,
            "last_modified_by_id": owner,
        }
