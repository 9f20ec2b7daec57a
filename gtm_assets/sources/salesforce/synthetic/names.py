"""Pools of names and texts, from which records take by position. Made once for a seed."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import polars as pl
from faker import Faker

from gtm_assets.sources.salesforce.synthetic import series
from gtm_assets.sources.salesforce.synthetic.arrays import Bits, Flags, Ints

# Values that trip up careless code are here on purpose, so that any scale has them.
_FIRST = ["José", "Zoë", "Łukasz", "Anne-Marie", "Siân", "Nuño"]
_LAST = ["O'Brien", "D'Angelo", "Müller", "García", "Nowak-Żak", "Smith, Jr.", "van der Berg", "Łęcki", "Ní Shé"]
_FIRMS = ["L'Étoile", "Ångström", "Peña"]
_SUFFIXES = ["Inc.", "LLC", "GmbH", "& Co", "Group", "Ltd.", "S.A.", "Labs", "Systems", "Partners, LP", '"Prime"']
_PLACES = [
    ("San Francisco", "CA", "United States"),
    ("New York", "NY", "United States"),
    ("Austin", "TX", "United States"),
    ("Chicago", "IL", "United States"),
    ("Seattle", "WA", "United States"),
    ("Coeur d'Alene", "ID", "United States"),
    ("Boston", "MA", "United States"),
    ("Atlanta", "GA", "United States"),
    ("Denver", "CO", "United States"),
    ("Portland", "OR", "United States"),
    ("Toronto", "ON", "Canada"),
    ("Montréal", "QC", "Canada"),
    ("London", None, "United Kingdom"),
    ("Manchester", None, "United Kingdom"),
    ("München", "BY", "Germany"),
    ("Berlin", "BE", "Germany"),
    ("Paris", None, "France"),
    ("Kraków", None, "Poland"),
    ("São Paulo", "SP", "Brazil"),
    ("Sydney", "NSW", "Australia"),
]
TITLES = [
    "Chief Executive Officer",
    "Chief Financial Officer",
    "Chief Technology Officer",
    "VP, Sales",
    "VP, Marketing",
    "VP Engineering",
    "Director of IT",
    "Director, Procurement",
    "Head of Operations",
    "IT Manager",
    "Marketing Manager",
    "Procurement Manager",
    "Finance Manager",
    "Systems Analyst",
    "Software Engineer",
    "Data Analyst",
    "Office Manager",
    "Consultant",
]
DEPARTMENTS = ["Finance", "IT", "Marketing", "Operations", "Procurement", "Sales", "Engineering", "Executive"]
INDUSTRIES = [
    "Technology",
    "Financial Services",
    "Healthcare",
    "Manufacturing",
    "Retail",
    "Education",
    "Energy",
    "Media",
    "Transportation",
    "Consulting",
    "Government",
    "Not For Profit",
]
LEAD_SOURCES = [
    "Website",
    "Webinar",
    "Trade Show",
    "Partner",
    "Employee Referral",
    "External Referral",
    "Advertisement",
    "Customer Event",
    "Purchased List",
    "Other",
]
LEAD_SOURCE_WEIGHTS = (30, 16, 12, 10, 6, 6, 10, 4, 4, 2)
RATINGS = ["Hot", "Warm", "Cold"]


def _letters(name: str) -> str:
    """A name as it stands in an address: lower-case ASCII letters and digits."""
    ascii_only = unicodedata.normalize("NFKD", name.replace("Ł", "L").replace("ł", "l")).encode("ascii", "ignore")
    return re.sub(r"[^a-z0-9]", "", ascii_only.decode().lower())


def _part(bits: Bits, shift: int, size: int) -> Ints:
    """A position in a pool, from some of 64 random bits."""
    return ((bits >> np.uint64(shift)) % np.uint64(1 << 20) % np.uint64(size)).astype(np.int64)


class Names:
    """The pools, and names put together from 64 random bits."""

    def __init__(self, seed: int) -> None:
        """The pools of a seed."""
        fake = Faker("en_US")
        fake.seed_instance(seed)
        first = list(dict.fromkeys(fake.first_name() for _ in range(600))) + _FIRST
        last = list(dict.fromkeys(fake.last_name() for _ in range(900))) + _LAST
        firms = list(dict.fromkeys(fake.last_name() for _ in range(900))) + _FIRMS
        words = list(dict.fromkeys(fake.word().title() for _ in range(300)))
        self.first, self.first_letters = _pool(first)
        self.last, self.last_letters = _pool(last)
        self.firms, self.firm_letters = _pool(firms)
        self.words, self.word_letters = _pool(words)
        self.suffixes = pl.Series(_SUFFIXES)
        self.cities, self.states, self.countries = (
            pl.Series(list(column)) for column in zip(*_PLACES, strict=True)
        )
        self.streets = pl.Series([fake.street_address() for _ in range(300)])
        sentences = [fake.sentence(nb_words=9) for _ in range(200)]
        self.sentences = pl.Series(
            [s if i % 5 else f'{s}\nNext: "{s[:20]}", then call back.' for i, s in enumerate(sentences)]
        )
        self.catchwords = pl.Series(list(dict.fromkeys(fake.bs().title() for _ in range(200))))

    def first_name(self, person: Bits) -> pl.Series:
        """First name of each person."""
        return series.text(self.first, _part(person, 0, len(self.first)))

    def last_name(self, person: Bits) -> pl.Series:
        """Last name of each person."""
        return series.text(self.last, _part(person, 20, len(self.last)))

    def full_name(self, person: Bits) -> pl.Series:
        """First and last name."""
        return self.first_name(person) + " " + self.last_name(person)

    def mailbox(self, person: Bits) -> pl.Series:
        """What stands before the @ of the person's address."""
        first = series.text(self.first_letters, _part(person, 0, len(self.first)))
        return first + "." + series.text(self.last_letters, _part(person, 20, len(self.last)))

    def company(self, firm: Bits) -> pl.Series:
        """Name of each company."""
        name = series.text(self.firms, _part(firm, 0, len(self.firms)))
        word = series.text(self.words, _part(firm, 20, len(self.words)))
        return name + " " + word + " " + series.text(self.suffixes, _part(firm, 40, len(self.suffixes)))

    def domain(self, firm: Bits) -> pl.Series:
        """Domain of each company. All are of the kind reserved for examples."""
        name = series.text(self.firm_letters, _part(firm, 0, len(self.firms)))
        word = series.text(self.word_letters, _part(firm, 20, len(self.words)))
        return name + "-" + word + ".example"

    def phone(self, bits: Bits, null: Flags | None = None) -> pl.Series:
        """A telephone number of the range kept for fiction."""
        area = pl.Series(201 + _part(bits, 0, 780)).cast(pl.String)
        line = pl.Series(100 + _part(bits, 20, 100)).cast(pl.String).str.tail(2)
        return series.nulled("(" + area + ") 555-01" + line, null)


def _pool(names: list[str]) -> tuple[pl.Series, pl.Series]:
    return pl.Series(names), pl.Series([_letters(name) for name in names])
