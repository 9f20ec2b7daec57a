"""The catalogue: 25 objects by their Fivetran names, each described, with the cursor and deletes it really has."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps

import pytest

from gtm_assets.catalog.raw_table import Column, ColumnType, Deletes, Pii, RawTable, fivetran_name
from gtm_assets.sources.salesforce.catalog import OBJECTS

NAMES = """
    account campaign campaign_influence campaign_member contact email_message event forecasting_item
    forecasting_quota lead opportunity opportunity_contact_role opportunity_field_history period task user
    account_history contact_history opportunity_line_item opportunity_stage pricebook_2 pricebook_entry product_2
    record_type user_role
"""

# What each object has: S(ystemModstamp) L(astModifiedDate) C(reatedDate) D (IsDeleted); its key prefix.
SYSTEM_FIELDS = {
    "Account": ("001", "SLCD"),
    "Campaign": ("701", "SLCD"),
    "CampaignInfluence": ("0KK", "SLCD"),
    "CampaignMember": ("00v", "SLCD"),
    "Contact": ("003", "SLCD"),
    "EmailMessage": ("02s", "SLCD"),
    "Event": ("00U", "SLCD"),
    "Lead": ("00Q", "SLCD"),
    "Opportunity": ("006", "SLCD"),
    "OpportunityContactRole": ("00K", "SLCD"),
    "Task": ("00T", "SLCD"),
    "Product2": ("01t", "SLCD"),
    "Pricebook2": ("01s", "SLCD"),
    "PricebookEntry": ("01u", "SLCD"),
    "OpportunityLineItem": ("00k", "SLCD"),
    "User": ("005", "SLC"),
    "RecordType": ("012", "SLC"),
    "OpportunityStage": ("01J", "SLC"),
    "ForecastingQuota": ("0J9", "SLC"),
    "UserRole": ("00E", "SL"),
    "ForecastingItem": ("0G3", "S"),
    "Period": ("026", "S"),
    "OpportunityFieldHistory": ("017", "CD"),
    "AccountHistory": ("017", "CD"),
    "ContactHistory": ("017", "CD"),
}


def of_each_object(rule: Callable[[RawTable], Iterator[object]]) -> Callable[[], None]:
    """A test of the whole catalogue by a rule, which yields what is wrong with a table."""

    @wraps(rule)
    def test():
        assert [f"{table.name}: {wrong}" for table in OBJECTS for wrong in rule(table)] == []

    # pytest would ask for the rule's argument.
    del test.__wrapped__
    return test


def test_the_catalogue_holds_the_25_objects():
    assert len(OBJECTS) == 25
    assert sorted(table.name for table in OBJECTS) == sorted(NAMES.split())
    assert {table.source for table in OBJECTS} == {"salesforce"}


def test_an_api_name_becomes_the_name_that_fivetran_gives_it():
    names = [
        ("StageName", "stage_name"),
        ("Audit_Phase__c", "audit_phase_c"),
        ("ARR__c", "arr_c"),
        ("Product2", "product_2"),
        ("Pricebook2Id", "pricebook_2_id"),
        ("LastCURequestDate", "last_curequest_date"),
        ("LastCUUpdateDate", "last_cuupdate_date"),
        ("UserPreferencesHideS1BrowserUI", "user_preferences_hide_s_1_browser_ui"),
        ("SBQQ__PriceEditable__c", "sbqq_price_editable_c"),
        ("npe01__Last_Donation_Date__c", "npe_01_last_donation_date_c"),
        ("ACVAmount__c", "acvamount_c"),
        ("Id", "id"),
        ("IsDeleted", "is_deleted"),
        ("SystemModstamp", "system_modstamp"),
        ("NumberOfEmployees", "number_of_employees"),
        ("OpportunityLineItem", "opportunity_line_item"),
        ("CallDurationInSeconds", "call_duration_in_seconds"),
        ("MC4SF__MC_Subscriber__c", "mc_4_sf_mc_subscriber_c"),
        ("SalesLoft1__Most_Recent_Cadence_Name__c", "sales_loft_1_most_recent_cadence_name_c"),
        ("LID__LinkedIn_Member_Token__c", "lid_linked_in_member_token_c"),
        ("bizible2__Bizible_Id__c", "bizible_2_bizible_id_c"),
        ("RH2__Integer_Test__c", "rh_2_integer_test_c"),
        ("DOZISF__ZoomInfo_Id__c", "dozisf_zoom_info_id_c"),
        ("celigo_sfnsio__NetSuite_Id__c", "celigo_sfnsio_net_suite_id_c"),
        ("bt_stripe__SSN_Last_4__c", "bt_stripe_ssn_last_4_c"),
        ("DNBoptimizer__DnBContactRecord__c", "dnboptimizer_dn_bcontact_record_c"),
        ("4thQuarter__c", "_4_th_quarter_c"),
        ("Win-Rate %", "win_rate_"),
    ]

    assert [(api_name, fivetran_name(api_name)) for api_name, _ in names] == names


@of_each_object
def test_tables_and_columns_are_named_by_fivetrans_rule(table):
    if table.name != fivetran_name(table.api_name):
        yield "its own name"
    for column in table.columns:
        if column.name != "_fivetran_deleted" and column.name != fivetran_name(column.api_name):
            yield column.name
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", column.name):
            yield column.name


@of_each_object
def test_cursor_deletes_and_system_columns_are_those_that_the_object_has(table):
    prefix, has = SYSTEM_FIELDS[table.api_name]
    columns = {
        "S": "system_modstamp",
        "L": "last_modified_date",
        "C": "created_date",
        "D": "is_deleted",
    }

    if table.key_prefix != prefix:
        yield table.key_prefix
    if (there := {letter for letter, column in columns.items() if column in table.types}) != set(has):
        yield there
    if table.cursor != columns["S" if "S" in has else "C"]:
        yield table.cursor
    if table.types[table.cursor] is not ColumnType.TIMESTAMP:
        yield "the type of its cursor"
    if table.deletes is not (Deletes.SOFT if "D" in has else Deletes.SNAPSHOT):
        yield table.deletes
    if ("_fivetran_deleted" in table.types) != ("D" not in has):
        yield "_fivetran_deleted"
    if table.types[table.deletes.value] is not ColumnType.BOOLEAN:
        yield table.deletes.value


@of_each_object
def test_the_id_comes_first_and_is_a_text(table):
    if (table.id_column, table.columns[0].name) != ("id", "id"):
        yield table.id_column, table.columns[0].name
    if table.types["id"] is not ColumnType.STRING:
        yield table.types["id"]


@of_each_object
def test_table_and_columns_are_described_in_sentences(table):
    for text in (table.description, *(column.description for column in table.columns)):
        if not (re.match(r"[0-9A-Z]", text) and text.endswith(".") and len(text) <= 115):
            yield text
    if "One row per" not in table.description:
        yield table.description


@of_each_object
def test_no_restricted_column_is_extracted(table):
    unwanted = re.compile(r"ssn|social_security|passport|card_number|iban|national_id|birth", re.IGNORECASE)
    for column in table.columns:
        if column.pii is Pii.RESTRICTED or unwanted.search(column.name):
            yield column.name


@of_each_object
def test_personal_data_says_its_tier(table):
    personal = {
        "email",
        "phone",
        "mobile_phone",
        "first_name",
        "last_name",
        "username",
        "from_address",
        "to_address",
    }
    people = {"contact", "lead", "user", "email_message"}

    for column in table.columns:
        if table.name in people and column.name in personal and column.pii is None:
            yield column.name


@of_each_object
def test_types_go_with_names(table):
    for column in table.columns:
        if re.match(r"(is|has)_", column.name) and column.type is not ColumnType.BOOLEAN:
            yield column.name
        if (column.name == "id" or column.name.endswith("_id")) and column.type is not ColumnType.STRING:
            yield column.name
        if re.search(r"amount|revenue|price$|cost$", column.name) and column.type is not ColumnType.BOOLEAN:
            expected = (
                {ColumnType.CURRENCY, ColumnType.STRING} if "period" in table.name else {ColumnType.CURRENCY}
            )
            if column.type not in expected:
                yield column.name


def test_what_history_is_kept_of_is_in_the_catalogue():
    tracked = {
        "account": {"name", "industry", "type", "segment_c", "owner_id", "billing_country", "annual_revenue"},
        "contact": {"account_id", "title", "department", "owner_id"},
        "user": {"division", "audit_phase_c", "user_role_id", "manager_id", "is_active"},
        "opportunity": {"stage_name", "amount", "close_date", "probability", "forecast_category_name"},
    }
    there = {table.name: set(table.types) for table in OBJECTS}

    assert {name: columns - there[name] for name, columns in tracked.items() if columns - there[name]} == {}


def entry(**changes) -> RawTable:
    columns = tuple(
        Column(name, type_, "A column.", name)
        for name, type_ in {
            "id": ColumnType.STRING,
            "at": ColumnType.TIMESTAMP,
            "is_deleted": ColumnType.BOOLEAN,
        }.items()
    )
    table = RawTable("crm", "deal", "Deal", "Deals.", columns, "at", Deletes.SOFT)
    return replace(table, **changes)


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        ({"cursor": "changed_at"}, "crm.deal: column changed_at is missing from the catalogue"),
        ({"id_column": "key"}, "crm.deal: column key is missing from the catalogue"),
        ({"deletes": Deletes.SNAPSHOT}, "crm.deal: column _fivetran_deleted is missing from the catalogue"),
        ({"columns": entry().columns * 2}, "crm.deal: columns ['at', 'id', 'is_deleted'] are listed twice"),
        (
            {"cursor": "id"},
            "crm.deal: the catalogue declares id as varchar; the lake needs a timestamp with time zone",
        ),
        (
            {"columns": tuple(replace(c, type=ColumnType.TIMESTAMP) for c in entry().columns)},
            "crm.deal: the catalogue declares is_deleted as timestamp with time zone; the lake needs a boolean",
        ),
    ],
)
def test_an_entry_that_the_lake_could_not_use_is_refused(mistake, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        entry(**mistake)
