"""Products and their prices, and the record types."""

from __future__ import annotations

import numpy as np
import polars as pl

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Ints
from gtm_assets.sources.salesforce.synthetic.clock import morning
from gtm_assets.sources.salesforce.synthetic.ids import ids
from gtm_assets.sources.salesforce.synthetic.people import user_ids
from gtm_assets.sources.salesforce.synthetic.recipe import Columns, Recipe
from gtm_assets.sources.salesforce.synthetic.timeline import TOUCHED, Timeline, Versions
from gtm_assets.sources.salesforce.synthetic.world import World

FAMILIES = ["Software", "Services", "Support", "Training"]
_UNITS = ["Seat", "Day", "Year", "Course"]
_LOWEST_PRICE = np.array([40, 900, 300, 250])
_PRICE_STEPS = np.array([60, 30, 50, 25])
PRICEBOOKS = ["Standard Price Book", "Enterprise", "Partner"]
RECORD_TYPES = [
    ("Business Account", "Account"),
    ("Partner Account", "Account"),
    ("New Business", "Opportunity"),
    ("Renewal", "Opportunity"),
    ("Upsell", "Opportunity"),
]
_RETIRED, _EDITED = 8, 9


def list_price(world: World, product: Ints) -> Ints:
    """Price of one unit in whole dollars, the same in every price book."""
    dice = world.dice("product_2")
    family = product % len(FAMILIES)
    return _LOWEST_PRICE[family] + 10 * dice.below("price", _PRICE_STEPS[family], product)


def entry_code(product: Ints, pricebook: Ints) -> Ints:
    """Code of the price book entry of a product."""
    return product * len(PRICEBOOKS) + pricebook


class _Fixed(Recipe):
    """An object with a few records that are there from the first hour."""

    referenced = True
    size: int

    def codes(self, first: int, last: int) -> Ints:
        """All records, made on day 0."""
        return np.arange(self.size) if first <= 0 <= last else np.empty(0, np.int64)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """They are made on the first day, and touched once, a day later."""
        created = morning(0, -7.0) + codes * 7
        return Timeline.of(created, [(TOUCHED, created + 86_400)])

    @staticmethod
    def by_admin(n: int) -> Columns:
        """The chief made and changed it: that user is older than any of these records."""
        return {
            "created_by_id": user_ids(np.zeros(n, np.int64)),
            "last_modified_by_id": user_ids(np.zeros(n, np.int64)),
        }


class RecordTypes(_Fixed):
    """Record types of accounts and opportunities."""

    name = "record_type"
    size = len(RECORD_TYPES)

    def columns(self, versions: Versions) -> Columns:
        """Name and object."""
        code, n = versions.codes, len(versions.codes)
        names = [name for name, _ in RECORD_TYPES]
        return self.by_admin(n) | {
            "name": series.text(names, code),
            "developer_name": series.text([name.replace(" ", "_") for name in names], code),
            "sobject_type": series.text([of for _, of in RECORD_TYPES], code),
            "description": series.constant(None, n, series.STRING),
            "is_active": series.constant(True, n),
        }


class Pricebooks(_Fixed):
    """Price books."""

    name = "pricebook_2"
    size = len(PRICEBOOKS)

    def columns(self, versions: Versions) -> Columns:
        """Name and kind."""
        code, n = versions.codes, len(versions.codes)
        return self.by_admin(n) | {
            "name": series.text(PRICEBOOKS, code),
            "description": series.text(["List prices", "Large customers", None], code),
            "is_active": series.constant(True, n),
            "is_standard": series.flag(code == 0),
        }


class Products(Recipe):
    """Products. They are edited now and then, and some are retired."""

    name = "product_2"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """Products in the order in which they came."""
        return self.world.arrivals["product_2"].between(first, last)

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """A product changes about twice a year."""
        created = self.world.arrivals["product_2"].created(codes, self.dice.bits("created", codes))
        return Timeline.of(created, [self.slow_changes(codes, created, until, 200, {_EDITED: 9, _RETIRED: 1})])

    def columns(self, versions: Versions) -> Columns:
        """Name, family, whether it is still sold."""
        code, n = versions.codes, len(versions.codes)
        return _Fixed.by_admin(n) | {
            "name": product_name(self.world, code),
            "product_code": product_code(code),
            "family": series.text(FAMILIES, code % 4),
            "description": series.text(
                self.world.names.sentences,
                self.dice.below("text", len(self.world.names.sentences), code, versions.count(_EDITED)),
                self.dice.happens("no text", 0.2, code),
            ),
            "quantity_unit_of_measure": series.text(_UNITS, code % 4),
            "is_active": series.flag(~versions.has(_RETIRED)),
        }


def product_name(world: World, code: Ints) -> pl.Series:
    """Name of each product."""
    words = world.names.catchwords
    word = series.text(words, world.dice("product_2").below("name", len(words), code))
    return word + " " + series.text(FAMILIES, code % 4)


def product_code(code: Ints) -> pl.Series:
    """Code of each product, as the price list prints it."""
    return series.text(["SW", "SV", "SP", "TR"], code % 4) + "-" + pl.Series(100 + code).cast(series.STRING)


class PricebookEntries(Recipe):
    """Prices: one for each product and price book, made with the product."""

    name = "pricebook_entry"
    referenced = True

    def codes(self, first: int, last: int) -> Ints:
        """The entries of the products of the days."""
        products = self.world.arrivals["product_2"].between(first, last)
        return entry_code(products[:, None], np.arange(len(PRICEBOOKS))[None, :]).ravel()

    def timeline(self, codes: Ints, until: int) -> Timeline:
        """An entry is edited about once a year."""
        product = codes // len(PRICEBOOKS)
        bits = self.world.dice("product_2").bits("created", product)
        created = self.world.arrivals["product_2"].created(product, bits)
        return Timeline.of(created, [self.slow_changes(codes, created, until, 330, {_EDITED: 1})])

    def columns(self, versions: Versions) -> Columns:
        """Product, price book and price."""
        code, n = versions.codes, len(versions.codes)
        product, book = code // len(PRICEBOOKS), code % len(PRICEBOOKS)
        return _Fixed.by_admin(n) | {
            "pricebook_2_id": ids("01s", book),
            "product_2_id": ids("01t", product),
            "name": product_name(self.world, product),
            "product_code": product_code(product),
            "unit_price": series.money(list_price(self.world, product) * 100),
            "is_active": series.constant(True, n),
            "use_standard_price": series.flag(book != 0),
        }
