"""The case list."""

from tests.cdc.cases import identity_cases, table_cases, toast_cases, transaction_cases, value_cases

CASES = [
    *identity_cases.cases(),
    *toast_cases.cases(),
    *table_cases.cases(),
    *transaction_cases.cases(),
    *value_cases.cases(),
]
