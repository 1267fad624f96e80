"""Real health records with made-up identities.

NHEFS: 1,629 persons of a United States health survey of 1971-75, followed for ten years and
more (Hernán and Robins, "Causal Inference: What If", 2020); package `causaldata`, MIT licence.
The survey is anonymous, so a seeded Faker gives each person a name, an e-mail address, a
phone number, a street, a postcode and a birth date that agrees with the recorded age.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SEED = 1971
IDENTITY = ["email", "name", "phone", "street", "postcode", "birth_date", "enrolled_on"]
RECORDED = [
    "sex",
    "race",
    "school",
    "qsmk",
    "smokeintensity",
    "smokeyrs",
    "exercise",
    "active",
    "wt71",
    "sbp",
    "wt82_71",
    "death",
]


def identities(ages: list[int], seed: int = SEED) -> list[dict[str, object]]:
    """One made-up identity per recorded age; the same for the same seed."""
    from faker import Faker

    fake, chance = Faker("en_US"), random.Random(seed)
    fake.seed_instance(seed)
    people = []
    for number, age in enumerate(ages):
        enrolled = date(1971, 4, 1) + timedelta(days=chance.randrange(4 * 365))
        # The last birthday lies less than a year before enrolment.
        birthday = enrolled - timedelta(days=chance.randrange(365))
        day = min(birthday.day, 28)
        name = fake.name()
        local = "".join(c for c in name.lower().replace(" ", ".") if c.isalnum() or c == ".")
        people.append(
            {
                "email": f"{local.strip('.')}.{number}@{fake.free_email_domain()}",
                "name": name,
                "phone": fake.phone_number(),
                "street": fake.street_address(),
                "postcode": fake.postcode(),
                "birth_date": birthday.replace(year=birthday.year - age, day=day),
                "enrolled_on": enrolled,
            }
        )
    return people


def survey() -> pd.DataFrame:
    """The survey's records, in the columns that the example uses."""
    import causaldata

    return causaldata.nhefs.load_pandas().data.reset_index(drop=True)


def persons() -> pd.DataFrame:
    """The clinic's table of persons: identities only, one row per record of the survey."""
    import pandas as pd

    ages = survey()["age"].astype(int).tolist()
    return pd.DataFrame(identities(ages))


def records() -> pd.DataFrame:
    """The survey's measurements, in the order of `persons`."""
    data = survey()[RECORDED].copy()
    for name in ("sex", "race", "exercise", "active"):
        data[name] = data[name].astype(str)
    for name in ("school", "qsmk", "smokeintensity", "smokeyrs", "death"):
        data[name] = data[name].astype("int64")
    return data
