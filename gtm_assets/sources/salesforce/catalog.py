"""The catalogue: the 25 Salesforce objects that are landed, each with its columns, cursor and delete rule.

To add an object, add one entry here, then run ``make sources`` (it writes the dbt source file) and give it a
base and a staging model. Columns are named by Fivetran's rule from their API names. Personal data carries its
tier; restricted data (card numbers, national ids) has no place in the catalogue.

Sources: the Salesforce Object Reference for names, types, key prefixes and which system fields each object has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gtm_assets.catalog.raw_table import (
    Column,
    ColumnType,
    Deletes,
    Identifies,
    Link,
    Pii,
    RawTable,
    Reference,
    fivetran_name,
)


@dataclass(frozen=True)
class SalesforceObject(RawTable):
    """A Salesforce object. ``key_prefix`` is the first three characters of its ids (not unique: see 017)."""

    key_prefix: str = ""
    feature: str = ""
    """What an organisation switches on to have the object; empty where every one has it."""


OF_THE_SYNTHETIC_ORG = "a custom field of the synthetic organisation"


def _column(api_name: str, type_: ColumnType, description: str, pii: Pii | None = None) -> Column:
    optional = OF_THE_SYNTHETIC_ORG if api_name.endswith("__c") else _OF_A_FEATURE.get(api_name, "")
    return Column(fivetran_name(api_name), type_, description, api_name, pii, optional)


_OF_A_FEATURE = {"CurrencyIsoCode": "several currencies", "RecordTypeId": "record types"}
"""Standard fields that an organisation has with a feature alone, and that."""
_FEATURES = {
    "AccountHistory": "field history tracking",
    "CampaignInfluence": "Customizable Campaign Influence",
    "ContactHistory": "field history tracking",
    "EmailMessage": "Enhanced Email or Email-to-Case",
    "ForecastingItem": "forecasts",
    "ForecastingQuota": "forecasts with quotas",
    "OpportunityFieldHistory": "field history tracking",
}
"""Objects that an organisation has with a feature alone, and that."""


def _text(api_name: str, description: str, pii: Pii | None = None, identifies: Identifies | None = None) -> Column:
    """A string, picklist, textarea, email, phone, url, combobox or anyType field."""
    return replace(_column(api_name, ColumnType.STRING, description, pii), identifies=identifies)


def _ref(api_name: str, description: str, link: Link | None = None, *tables: str) -> Column:
    """An id or reference field: 18 characters. ``link`` says what it means for the person in one of ``tables``."""
    column = _column(api_name, ColumnType.STRING, description)
    return replace(column, refers=Reference(link, tables)) if link else column


def _flag(api_name: str, description: str) -> Column:
    return _column(api_name, ColumnType.BOOLEAN, description)


def _integer(api_name: str, description: str) -> Column:
    return _column(api_name, ColumnType.INTEGER, description)


def _number(api_name: str, description: str) -> Column:
    """A double or percent field."""
    return _column(api_name, ColumnType.DOUBLE, description)


def _money(api_name: str, description: str) -> Column:
    """A currency field, in the record's currency, with up to six decimals."""
    return _column(api_name, ColumnType.CURRENCY, description)


def _date(api_name: str, description: str) -> Column:
    return _column(api_name, ColumnType.DATE, description)


def _timestamp(api_name: str, description: str) -> Column:
    """A datetime field, UTC."""
    return _column(api_name, ColumnType.TIMESTAMP, description)


_ID = _ref("Id", "Salesforce id of the record, 18 characters.")
_CREATED = (
    _ref("CreatedById", "User who created the record."),
    _timestamp("CreatedDate", "When the record was created, UTC."),
)
_MODIFIED = (
    _ref("LastModifiedById", "User who last changed the record."),
    _timestamp("LastModifiedDate", "When a user last changed the record, UTC."),
)
_MODSTAMP = _timestamp("SystemModstamp", "When a user or the system last changed the record, UTC. The cursor.")
_IS_DELETED = _flag("IsDeleted", "True while the record is in the recycle bin.")
_FIVETRAN_DELETED = Column(
    "_fivetran_deleted",
    ColumnType.BOOLEAN,
    "True once a full extraction no longer finds the record (the object has no IsDeleted).",
    "",
)
_CURRENCY = _text("CurrencyIsoCode", "ISO code of the currency of the record's amounts.")


_EXPECT_DAILY_ROWS = {"Account", "Contact", "EmailMessage", "Event", "Lead", "Opportunity", "Task"}


def _object(
    api_name: str, key_prefix: str, system_fields: str, description: str, columns: tuple[Column, ...]
) -> SalesforceObject:
    """One entry. ``system_fields`` says what the object has: S(ystemModstamp) L(ast…) C(reated…) D(eleted)."""
    system: tuple[Column, ...] = ()
    if "C" in system_fields:
        system += _CREATED
    if "L" in system_fields:
        system += _MODIFIED
    if "S" in system_fields:
        system += (_MODSTAMP,)
    soft = "D" in system_fields
    return SalesforceObject(
        source="salesforce",
        name=fivetran_name(api_name),
        api_name=api_name,
        description=description,
        columns=(_ID, *columns, *system, _IS_DELETED if soft else _FIVETRAN_DELETED),
        cursor=_MODSTAMP.name if "S" in system_fields else "created_date",
        deletes=Deletes.SOFT if soft else Deletes.SNAPSHOT,
        expects_daily_rows=api_name in _EXPECT_DAILY_ROWS,
        is_append_only="S" not in system_fields,
        key_prefix=key_prefix,
        feature=_FEATURES.get(api_name, ""),
    )


OBJECTS: tuple[SalesforceObject, ...] = (
    _object(
        "Account",
        "001",
        "SLCD",
        "Companies: customers, prospects and partners. One row per account.",
        (
            _text("Name", "Name of the company."),
            _text("Type", "Relationship, such as Prospect or Customer."),
            _ref("ParentId", "Parent account, where the company belongs to a group."),
            _ref("OwnerId", "User who owns the account."),
            _ref("RecordTypeId", "Record type of the account."),
            _text("Industry", "Industry picklist value."),
            _text("Segment__c", "Size segment, such as Startup or Enterprise."),
            _money("AnnualRevenue", "Estimated annual revenue of the company."),
            _integer("NumberOfEmployees", "Number of employees."),
            _text("Rating", "How promising it is, such as Hot or Cold."),
            _text("AccountSource", "Lead source the account came from."),
            _text("Website", "Web site; its host is the company's domain."),
            _text("Phone", "Main telephone number."),
            _text("BillingStreet", "Street of the billing address."),
            _text("BillingCity", "City of the billing address."),
            _text("BillingState", "State or province of the billing address."),
            _text("BillingPostalCode", "Postal code of the billing address."),
            _text("BillingCountry", "Country of the billing address."),
            _text("Description", "Free text about the company.", Pii.INTERNAL),
            _date("LastActivityDate", "Due date of the latest activity."),
            _CURRENCY,
        ),
    ),
    _object(
        "AccountHistory",
        "017",
        "CD",
        "Changes of tracked account fields. One row per changed field; append-only.",
        (
            _ref("AccountId", "Account that changed."),
            _text("Field", "API name of the changed field, or created."),
            _text("DataType", "Type of the field."),
            _text("OldValue", "Value before the change, as text."),
            _text("NewValue", "Value after the change, as text."),
        ),
    ),
    _object(
        "Campaign",
        "701",
        "SLCD",
        "Marketing campaigns. One row per campaign.",
        (
            _text("Name", "Name of the campaign."),
            _ref("ParentId", "Campaign that this one belongs to."),
            _ref("OwnerId", "User who owns the campaign."),
            _text("Type", "Kind of campaign, such as Webinar or Conference."),
            _text("Status", "State of the campaign, such as Planned or Completed."),
            _flag("IsActive", "True while the campaign runs."),
            _date("StartDate", "First day."),
            _date("EndDate", "Last day."),
            _money("BudgetedCost", "Planned cost."),
            _money("ActualCost", "Actual cost so far."),
            _money("ExpectedRevenue", "Revenue expected from the campaign."),
            _number("ExpectedResponse", "Share of members expected to respond, per cent."),
            _integer("NumberSent", "Number of people the campaign was sent to."),
            _text("Description", "Free text about the campaign.", Pii.INTERNAL),
            _CURRENCY,
        ),
    ),
    _object(
        "CampaignInfluence",
        "0KK",
        "SLCD",
        "Shares of opportunities credited to campaigns. One row per campaign, opportunity, contact and model.",
        (
            _ref("CampaignId", "Campaign that is credited."),
            _ref("OpportunityId", "Opportunity that was influenced."),
            _ref("ContactId", "Contact through whom the campaign had influence."),
            _ref("ModelId", "Influence model that gave the credit."),
            _number("Influence", "Credited share of the opportunity, per cent."),
            _money("RevenueShare", "Credited amount of the opportunity."),
            _CURRENCY,
        ),
    ),
    _object(
        "CampaignMember",
        "00v",
        "SLCD",
        "People in campaigns. One row per person and campaign; the person is a lead or a contact, never both.",
        (
            _ref("CampaignId", "Campaign."),
            _ref("LeadId", "Lead, where the person is one."),
            _ref("ContactId", "Contact, where the person is one."),
            _text("Status", "State of the membership, such as Sent or Responded."),
            _flag("HasResponded", "True once the person has responded."),
            _date("FirstRespondedDate", "Day of the first response."),
        ),
    ),
    _object(
        "Contact",
        "003",
        "SLCD",
        "People at accounts. One row per contact.",
        (
            _ref("AccountId", "Account where the person works."),
            _ref("OwnerId", "User who owns the contact."),
            _ref("ReportsToId", "Contact to whom the person reports."),
            _text("FirstName", "First name.", Pii.CONFIDENTIAL),
            _text("LastName", "Last name.", Pii.CONFIDENTIAL),
            _text("Name", "Full name.", Pii.CONFIDENTIAL, Identifies.NAME),
            _text("Email", "Email address.", Pii.CONFIDENTIAL, Identifies.EMAIL),
            _text("Phone", "Telephone number.", Pii.CONFIDENTIAL, Identifies.PHONE),
            _text("MobilePhone", "Mobile telephone number.", Pii.CONFIDENTIAL, Identifies.PHONE),
            _text("Title", "Job title.", Pii.INTERNAL),
            _text("Department", "Department.", Pii.INTERNAL),
            _text("LeadSource", "Where the person came from."),
            _text("MailingCity", "City of the mailing address.", Pii.CONFIDENTIAL),
            _text("MailingState", "State or province of the mailing address.", Pii.CONFIDENTIAL),
            _text("MailingCountry", "Country of the mailing address.", Pii.INTERNAL),
            _flag("HasOptedOutOfEmail", "True where the person wants no marketing email."),
            _date("LastActivityDate", "Due date of the latest activity."),
        ),
    ),
    _object(
        "ContactHistory",
        "017",
        "CD",
        "Changes of tracked contact fields. One row per changed field; append-only.",
        (
            _ref("ContactId", "Contact that changed.", Link.ABOUT, "contact"),
            _text("Field", "API name of the changed field, or created."),
            _text("DataType", "Type of the field."),
            _text("OldValue", "Value before the change, as text.", Pii.CONFIDENTIAL),
            _text("NewValue", "Value after the change, as text.", Pii.CONFIDENTIAL),
        ),
    ),
    _object(
        "EmailMessage",
        "02s",
        "SLCD",
        "Emails sent and received. One row per email.",
        (
            _ref("ParentId", "Case that the email belongs to."),
            _ref("ActivityId", "Task that stands for the email in activity lists.", Link.ABOUT, "task"),
            _ref("RelatedToId", "Account, opportunity, campaign or other record that the email is about."),
            _text("Subject", "Subject line.", Pii.CONFIDENTIAL),
            _text("FromAddress", "Address of the sender.", Pii.CONFIDENTIAL, Identifies.EMAIL),
            _text("ToAddress", "Addresses of the recipients.", Pii.CONFIDENTIAL, Identifies.EMAIL),
            _text(
                "Status",
                "State: '0' (new), '1' (read), '2' (replied), '3' (sent), '4' (forwarded) or '5' (draft).",
            ),
            _flag("Incoming", "True for an email that was received."),
            _timestamp("MessageDate", "When the email was sent or received, UTC."),
            _flag("IsTracked", "True where opens are tracked."),
            _flag("IsOpened", "True once a tracked email was opened."),
            _timestamp("FirstOpenedDate", "When it was first opened, UTC."),
            _timestamp("LastOpenedDate", "When it was last opened, UTC."),
            _integer("Open_Count__c", "How often the email was opened."),
            _integer("Click_Count__c", "How often a link in it was clicked."),
        ),
    ),
    _object(
        "Event",
        "00U",
        "SLCD",
        "Meetings and calls in the calendar. One row per event.",
        (
            _ref("WhoId", "Contact or lead that the event is with.", Link.ABOUT, "contact", "lead"),
            _ref("WhatId", "Account, opportunity or campaign that the event is about."),
            _ref("AccountId", "Account that the event counts towards."),
            _ref("OwnerId", "User who holds the event."),
            _text("Subject", "Subject.", Pii.INTERNAL),
            _text("Type", "Kind of event, such as Call or Demo."),
            _text("EventSubtype", "Salesforce's own kind of event, such as Event or Scheduled Call."),
            _text("Location", "Where it takes place.", Pii.INTERNAL),
            _flag("IsAllDayEvent", "True for an event without times."),
            _timestamp("StartDateTime", "Start, UTC."),
            _timestamp("EndDateTime", "End, UTC."),
            _date("ActivityDate", "Day of the event in the owner's time zone."),
            _integer("DurationInMinutes", "Length in minutes."),
            _flag("IsArchived", "True once Salesforce has archived the event."),
        ),
    ),
    _object(
        "ForecastingItem",
        "0G3",
        "S",
        "Forecast figures. One row per owner, period, forecast category and forecast type.",
        (
            _ref("OwnerId", "User whose forecast it is."),
            _ref("PeriodId", "Period that is forecast."),
            _ref("ForecastingTypeId", "Forecast type (what is summed and by which date)."),
            _ref("ParentForecastingItemId", "Item of the owner's manager that this one rolls up into."),
            _text("ForecastCategoryName", "Displayed forecast category, such as Pipeline or Best Case."),
            _text(
                "ForecastingItemCategory",
                "API category, such as PipelineOnly or CommitForecast.",
            ),
            _money("ForecastAmount", "Forecast amount with adjustments."),
            _money("AmountWithoutAdjustments", "Forecast amount before adjustments."),
            _money("OwnerOnlyAmount", "Amount of the owner's own opportunities."),
            _number("ForecastQuantity", "Forecast quantity."),
            _flag("HasAdjustment", "True where somebody adjusted the figure."),
            _CURRENCY,
        ),
    ),
    _object(
        "ForecastingQuota",
        "0J9",
        "SLC",
        "Quotas. One row per user, period and forecast type.",
        (
            _ref("QuotaOwnerId", "User who has the quota."),
            _ref("PeriodId", "Period of the quota."),
            _ref("ForecastingTypeId", "Forecast type that the quota is for."),
            _date("StartDate", "First day of the period."),
            _money("QuotaAmount", "Quota as an amount."),
            _number("QuotaQuantity", "Quota as a quantity."),
            _flag("IsAmount", "True where the quota is an amount."),
            _flag("IsQuantity", "True where the quota is a quantity."),
            _CURRENCY,
        ),
    ),
    _object(
        "Lead",
        "00Q",
        "SLCD",
        "People who may become customers. One row per lead.",
        (
            _text("FirstName", "First name.", Pii.CONFIDENTIAL),
            _text("LastName", "Last name.", Pii.CONFIDENTIAL),
            _text("Name", "Full name.", Pii.CONFIDENTIAL, Identifies.NAME),
            _text("Company", "Company as the lead gave it."),
            _text("Email", "Email address.", Pii.CONFIDENTIAL, Identifies.EMAIL),
            _text("Phone", "Telephone number.", Pii.CONFIDENTIAL, Identifies.PHONE),
            _text("Title", "Job title.", Pii.INTERNAL),
            _text("LeadSource", "Where the lead came from."),
            _text("Status", "State of the lead, such as New or Qualified."),
            _text("Rating", "How promising it is, such as Hot or Cold."),
            _text("Industry", "Industry picklist value."),
            _integer("NumberOfEmployees", "Number of employees of the company."),
            _money("AnnualRevenue", "Annual revenue of the company."),
            _text("Country", "Country.", Pii.INTERNAL),
            _ref("OwnerId", "User who owns the lead."),
            _flag("IsConverted", "True once the lead has been converted."),
            _date("ConvertedDate", "Day of the conversion."),
            _ref("ConvertedAccountId", "Account that the conversion made or used."),
            _ref("ConvertedContactId", "Contact that the conversion made.", Link.SAME, "contact"),
            _ref(
                "ConvertedOpportunityId",
                "Opportunity that the conversion made, if any.",
                Link.NAMED_IN,
                "opportunity",
            ),
            _integer("Legacy_Score__c", "Score of a retired scoring model."),
        ),
    ),
    _object(
        "Opportunity",
        "006",
        "SLCD",
        "Opportunities. One row per opportunity.",
        (
            _ref("AccountId", "Account that would buy."),
            _ref("OwnerId", "User who owns the opportunity."),
            _ref("ContactId", "Primary contact.", Link.ABOUT, "contact"),
            _ref("CampaignId", "Campaign that is the primary source."),
            _ref("Pricebook2Id", "Price book of the lines."),
            _ref("RecordTypeId", "Record type of the opportunity."),
            _text("Name", "Name of the opportunity."),
            _text("Description", "Free text about the opportunity.", Pii.INTERNAL),
            _text("Type", "Kind of sale, such as New Business or Renewal."),
            _text("LeadSource", "Where the opportunity came from."),
            _text("StageName", "Current stage."),
            _number("Probability", "Probability of winning, per cent."),
            _text(
                "ForecastCategory",
                "API forecast category: Pipeline, BestCase, MostLikely, Forecast, Closed or Omitted.",
            ),
            _text(
                "ForecastCategoryName",
                "Displayed forecast category, such as Pipeline or Best Case.",
            ),
            _money("Amount", "Amount of the opportunity."),
            _money("ExpectedRevenue", "Amount × probability as Salesforce keeps it."),
            _number("TotalOpportunityQuantity", "Sum of the line quantities."),
            _money("ARR__c", "Annual recurring revenue that the opportunity adds."),
            _money("ARR_Churn__c", "Annual recurring revenue that the opportunity loses."),
            _date("CloseDate", "Expected close date; the actual one once closed."),
            _flag("IsClosed", "True in a won or lost stage."),
            _flag("IsWon", "True in a won stage."),
            _text("NextStep", "Next step.", Pii.INTERNAL),
            _text("LossReason__c", "Why the opportunity was lost."),
            _date("LastActivityDate", "Due date of the latest activity."),
            _timestamp("LastStageChangeDate", "When the stage last changed, UTC."),
            _integer("FiscalQuarter", "Fiscal quarter of the close date."),
            _integer("FiscalYear", "Fiscal year of the close date."),
            _CURRENCY,
        ),
    ),
    _object(
        "OpportunityContactRole",
        "00K",
        "SLCD",
        "Roles that contacts play in opportunities. One row per opportunity and contact.",
        (
            _ref("OpportunityId", "Opportunity.", Link.NAMED_IN, "opportunity"),
            _ref("ContactId", "Contact.", Link.ABOUT, "contact"),
            _text("Role", "Part that the contact plays, such as Decision Maker or Influencer."),
            _flag("IsPrimary", "True for the primary contact of the opportunity."),
        ),
    ),
    _object(
        "OpportunityFieldHistory",
        "017",
        "CD",
        "Changes of tracked opportunity fields. One row per changed field; append-only.",
        (
            _ref("OpportunityId", "Opportunity that changed."),
            _text("Field", "API name of the changed field, or created."),
            _text("DataType", "Type of the field."),
            _text("OldValue", "Value before the change, as text."),
            _text("NewValue", "Value after the change, as text."),
        ),
    ),
    _object(
        "OpportunityLineItem",
        "00k",
        "SLCD",
        "Lines of opportunities. One row per product line of an opportunity.",
        (
            _ref("OpportunityId", "Opportunity that the line belongs to."),
            _ref("PricebookEntryId", "Price book entry that was chosen."),
            _ref("Product2Id", "Product."),
            _text("Name", "Name of the line."),
            _number("Quantity", "Quantity."),
            _money("UnitPrice", "Price of one unit."),
            _money("ListPrice", "Price of one unit in the price book."),
            _number("Discount", "Discount, per cent."),
            _money("TotalPrice", "Quantity × unit price less discount."),
            _date("ServiceDate", "Day on which the product is delivered or the service starts."),
            _text("Description", "Free text about the line.", Pii.INTERNAL),
            _CURRENCY,
        ),
    ),
    _object(
        "OpportunityStage",
        "01J",
        "SLC",
        "The stages that an opportunity can be in. One row per stage.",
        (
            _text("ApiName", "API name of the stage."),
            _text("MasterLabel", "Name of the stage, as opportunities hold it."),
            _integer("SortOrder", "Position in the sales process."),
            _number("DefaultProbability", "Probability of winning, per cent."),
            _text("ForecastCategory", "API forecast category."),
            _text("ForecastCategoryName", "Displayed forecast category."),
            _flag("IsActive", "True while the stage can be chosen."),
            _flag("IsClosed", "True where an opportunity in this stage is closed."),
            _flag("IsWon", "True where an opportunity in this stage is won."),
            _text("Description", "Free text about the stage."),
        ),
    ),
    _object(
        "Period",
        "026",
        "S",
        "Fiscal periods. One row per month, quarter or year.",
        (
            _text("Type", "Month, Quarter, Week or Year."),
            _text("PeriodLabel", "Label of the period."),
            _text("QuarterLabel", "Label of the quarter."),
            _text("FullyQualifiedLabel", "Label with the fiscal year."),
            _integer("Number", "Number of the period within its fiscal year."),
            _date("StartDate", "First day."),
            _date("EndDate", "Last day."),
            _flag("IsForecastPeriod", "True where forecasts are made for the period."),
            _ref("FiscalYearSettingsId", "Fiscal year that the period belongs to."),
        ),
    ),
    _object(
        "Pricebook2",
        "01s",
        "SLCD",
        "Price books. One row per price book.",
        (
            _text("Name", "Name of the price book."),
            _text("Description", "Free text about the price book."),
            _flag("IsActive", "True while it can be used."),
            _flag("IsStandard", "True for the standard price book."),
        ),
    ),
    _object(
        "PricebookEntry",
        "01u",
        "SLCD",
        "Prices of products. One row per product, price book and currency.",
        (
            _ref("Pricebook2Id", "Price book."),
            _ref("Product2Id", "Product."),
            _text("Name", "Name of the product."),
            _text("ProductCode", "Code of the product."),
            _money("UnitPrice", "Price of one unit."),
            _flag("IsActive", "True while the price can be used."),
            _flag("UseStandardPrice", "True where the standard price applies."),
            _CURRENCY,
        ),
    ),
    _object(
        "Product2",
        "01t",
        "SLCD",
        "Products. One row per product.",
        (
            _text("Name", "Name of the product."),
            _text("ProductCode", "Code of the product."),
            _text("Family", "Product family, such as Software or Services."),
            _text("Description", "Free text about the product."),
            _text("QuantityUnitOfMeasure", "Unit in which it is sold."),
            _flag("IsActive", "True while it is sold."),
        ),
    ),
    _object(
        "RecordType",
        "012",
        "SLC",
        "Record types. One row per record type of an object.",
        (
            _text("Name", "Displayed name."),
            _text("DeveloperName", "API name."),
            _text("SobjectType", "Object that it belongs to."),
            _text("Description", "Free text about the record type."),
            _flag("IsActive", "True while it can be used."),
        ),
    ),
    _object(
        "Task",
        "00T",
        "SLCD",
        "To-dos, calls and logged emails. One row per task.",
        (
            _ref("WhoId", "Contact or lead that the task is with.", Link.ABOUT, "contact", "lead"),
            _ref("WhatId", "Account, opportunity or campaign that the task is about."),
            _ref("AccountId", "Account that the task counts towards."),
            _ref("OwnerId", "User who has the task."),
            _text("Subject", "Subject.", Pii.INTERNAL),
            _text("Type", "Kind of task, such as Call or Meeting."),
            _text("TaskSubtype", "Task, Email, ListEmail, Call, Cadence or LinkedIn."),
            _text("Status", "State of the task, such as Not Started or Completed."),
            _text("Priority", "Priority, such as High or Normal."),
            _date("ActivityDate", "Due date."),
            _timestamp("CompletedDateTime", "When the task was completed, UTC."),
            _flag("IsClosed", "True once the task is completed."),
            _flag("IsHighPriority", "True for priority High."),
            _integer("CallDurationInSeconds", "Length of a call in seconds."),
            _text("CallType", "Internal, Inbound or Outbound."),
            _text("CallDisposition", "Outcome of a call."),
            _flag("IsArchived", "True once Salesforce has archived the task."),
        ),
    ),
    _object(
        "User",
        "005",
        "SLC",
        "People who work in the organisation's Salesforce. One row per user.",
        (
            _text("Username", "Login name.", Pii.CONFIDENTIAL, Identifies.EMAIL),
            _text("FirstName", "First name.", Pii.CONFIDENTIAL),
            _text("LastName", "Last name.", Pii.CONFIDENTIAL),
            _text("Name", "Full name.", Pii.CONFIDENTIAL, Identifies.NAME),
            _text("Email", "Email address.", Pii.CONFIDENTIAL, Identifies.EMAIL),
            _text("Title", "Job title.", Pii.INTERNAL),
            _text("Department", "Department.", Pii.INTERNAL),
            _text("Division", "Sales region, such as North or EMEA."),
            _text("Audit_Phase__c", "Audit phase, such as Phase1 or Complete."),
            _ref("ManagerId", "User to whom the person reports."),
            _ref("UserRoleId", "Role."),
            _text("UserType", "Kind of user, such as Standard or PowerPartner."),
            _flag("IsActive", "True while the user can log in."),
            _text("TimeZoneSidKey", "Time zone."),
            _timestamp("LastLoginDate", "When the user last logged in, UTC."),
            _text("DefaultCurrencyIsoCode", "Currency that the user sees by default."),
        ),
    ),
    _object(
        "UserRole",
        "00E",
        "SL",
        "Roles, arranged in a tree. One row per role.",
        (
            _text("Name", "Name of the role."),
            _text("DeveloperName", "API name."),
            _ref("ParentRoleId", "Role above."),
            _ref("ForecastUserId", "User whose forecast stands for the role."),
            _text("RollupDescription", "Name of the role in reports."),
        ),
    ),
)
